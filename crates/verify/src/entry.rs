//! Judges one line by itself. This is what runs on all threads at once.
//!
//! ```text
//! line ── exact bytes ── envelope: signature, H(PAE), leaf ── statement ── key at its index ── by kind
//!                                                                                              │
//!        findings + what the fold needs to know of it  <─────────────────────────────────────┘
//! ```
//!
//! Nothing here knows of other lines; what follows from their order is the fold's business.

use chancery_core::digest::{BundleHash, Digest, LeafHash, RecordId, sha256};
use chancery_core::dsse::{Envelope, IN_TOTO, pae};
use chancery_core::evidence::{EntryLine, Line, LineError, RawLine, Trailer};
use chancery_core::ids::{EntityUid, ExecutionId, PolicyId};
use chancery_core::key::KeyId;
use chancery_core::keyring::Standing;
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_core::statement::{
    AboutDecision, Activation, AnyStatement, Confirmation, Erasure, ExecutionState, Override, Resolution,
    Statement,
};
use chancery_core::time::Timestamp;

use crate::check::CheckId;
use crate::context::Context;
use crate::decision;
use crate::fault::Fault;
use crate::table::{Key, Tag};
use crate::tally::{Findings, told};

/// A line on its way to the judge.
pub(crate) struct Numbered {
    pub(crate) raw: RawLine,
    /// SHA-256 of every byte before the line, where it looks like a trailer.
    pub(crate) before: Option<Digest>,
}

/// A line that was judged by itself.
pub(crate) struct Judged {
    pub(crate) line: u64,
    pub(crate) index: Option<u64>,
    /// The execution that it is about.
    pub(crate) execution_id: Option<ExecutionId>,
    pub(crate) findings: Findings,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// No entry and no trailer; the findings say what is wrong.
    Nothing,
    Entry(Entry),
    Trailer(Box<Trailer>, Digest),
}

/// A log entry, as far as the fold needs it.
pub(crate) struct Entry {
    pub(crate) index: u64,
    pub(crate) kind: Kind,
    pub(crate) record: RecordId,
    pub(crate) leaf: LeafHash,
    /// When it says that it was made; `None` where it cannot be read.
    pub(crate) claimed_at: Option<Timestamp>,
    /// Whether its signature holds, its statement is one, and its key was good for it.
    pub(crate) trusted: bool,
    pub(crate) what: What,
}

pub(crate) enum What {
    Unreadable,
    Decision(Box<DecisionFacts>),
    Override(Box<Statement<Override>>, Link),
    Resolution(Box<Statement<Resolution>>, Link),
    Confirmation(Box<Statement<Confirmation>>, Link),
    Verification(Link),
    Activation(Box<Activation>),
    Erasure(Box<Statement<Erasure>>),
    /// SHA-256 of the payload.
    Build(Digest),
}

/// Which decision something is about, or is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) key: Key,
    pub(crate) record: Tag,
    pub(crate) fingerprint: Tag,
}

/// What the fold needs to know of a decision.
pub(crate) struct DecisionFacts {
    pub(crate) link: Link,
    pub(crate) policy_id: PolicyId,
    pub(crate) bundle_hash: BundleHash,
    /// Its place among the file's bundles.
    pub(crate) policy: Option<usize>,
    pub(crate) outcome: String,
    pub(crate) state: ExecutionState,
    pub(crate) executed_at: Timestamp,
    pub(crate) principal: EntityUid,
    pub(crate) opening: Opened,
    pub(crate) reproduced: bool,
    pub(crate) build: BuildFact,
}

/// What is disclosed of a decision's inputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Opened {
    No,
    Partly,
    Fully,
}

/// What a decision says about the program that made it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BuildFact {
    /// Nothing.
    Null,
    /// A build that is not in the file.
    Missing,
    /// The build at this place among the file's builds, which is of another program.
    OtherBinary(usize),
    /// The build at this place among the file's builds.
    Known(usize),
}

/// Judges a line.
pub(crate) fn judge(context: &Context<'_>, line: Numbered) -> Judged {
    let Numbered { raw, before } = line;
    let mut judged = Judged {
        line: raw.number,
        index: None,
        execution_id: None,
        findings: Findings::default(),
        body: Body::Nothing,
    };
    if let Some(fault) = raw.fault {
        judged.findings.fail(CheckId::EvidenceFormat, fault.to_string());
        return judged;
    }
    match raw.parse_exact() {
        Ok(Line::Entry(line)) => {
            judged.findings.pass(CheckId::EvidenceFormat);
            judge_entry(context, line, &mut judged);
        }
        Ok(Line::Trailer(trailer)) => match before {
            Some(before) => {
                judged.findings.pass(CheckId::EvidenceFormat);
                judged.body = Body::Trailer(Box::new(trailer), before);
            }
            // A canonical trailer begins as the reader expects; this is not reached.
            None => judged.findings.fail(CheckId::EvidenceFormat, "the trailer is not in canonical form"),
        },
        Ok(line) => {
            let reason = format!("a line of the kind `{}` cannot stand here", line.kind());
            judged.findings.fail(CheckId::EvidenceFormat, reason);
        }
        Err(error) => {
            if matches!(error, LineError::Opening(_) | LineError::OpeningJson(_)) {
                judged.findings.fail(CheckId::Opening, told(&error));
            }
            judged.findings.fail(CheckId::EvidenceFormat, told(&error));
        }
    }
    judged
}

fn judge_entry(context: &Context<'_>, line: EntryLine, judged: &mut Judged) {
    let EntryLine { envelope, index, kind, opening, proof, .. } = line;
    judged.index = Some(index);
    let findings = &mut judged.findings;
    let message = pae(&envelope.payload_type, envelope.payload.as_slice());
    let record = RecordId::from_bytes(sha256(&message));
    let leaf = leaf_hash_of(kind, &record);
    context.judge_inclusion(&leaf, index, proof.as_ref(), findings);
    let signer = judge_signature(context, &envelope, kind, &message, findings);
    let mut entry =
        Entry { index, kind, record, leaf, claimed_at: None, trusted: false, what: What::Unreadable };
    // A statement whose signature fails is read all the same: the report is to say everything that is wrong.
    match AnyStatement::parse_unverified(kind, envelope.payload.as_slice()) {
        Ok(statement) if envelope.payload_type == IN_TOTO => {
            entry.claimed_at = Some(statement.claimed_at());
            let own = judge_statement(context, &statement, signer.as_ref(), findings);
            let good_key = judge_key(context, &statement, signer.as_ref(), (kind, index), findings);
            entry.trusted = own && good_key && !findings.failed(CheckId::EnvelopeSignature);
            let payload = envelope.payload.as_slice();
            entry.what = judge_kind(context, statement, payload, opening, &entry, judged);
        }
        Ok(_) => {
            let reason = format!("the payload type is `{}`", envelope.payload_type);
            findings.fail(CheckId::StatementSchema, reason);
        }
        Err(error) => findings.fail(CheckId::StatementSchema, told(&error)),
    }
    judged.body = Body::Entry(entry);
}

/// `envelope.signature`. Gives the key that signed, whether or not the signature holds, if the keyring has it.
fn judge_signature(
    context: &Context<'_>,
    envelope: &Envelope,
    kind: Kind,
    message: &[u8],
    findings: &mut Findings,
) -> Option<KeyId> {
    let check = CheckId::EnvelopeSignature;
    let signature = match envelope.single() {
        Ok(signature) => signature,
        Err(error) => {
            findings.fail(check, error.to_string());
            return None;
        }
    };
    let Some(key) = context.keyring.as_ref().and_then(|keyring| keyring.find_key(&signature.keyid)) else {
        let reason = format!("the key `{}` is in no version of the keyring", signature.keyid);
        findings.fault(CheckId::KeyRole, of_override(kind, Fault::KeyUnknown), reason);
        findings.unknown(check, format!("the key `{}` is not known", signature.keyid));
        return None;
    };
    match key.verify(message, signature.sig.as_slice()) {
        Ok(()) => findings.pass(check),
        Err(error) => findings.fault(check, of_override(kind, Fault::Signature), error.to_string()),
    }
    Some(signature.keyid.clone())
}

/// Whether the statement is of this log and names the key that signed it.
fn judge_statement(
    context: &Context<'_>,
    statement: &AnyStatement,
    signer: Option<&KeyId>,
    findings: &mut Findings,
) -> bool {
    let mut own = true;
    if let Some(tenant) = statement.tenant().filter(|tenant| **tenant != context.header.tenant) {
        let fault = matches!(statement, AnyStatement::Override(_)).then_some(Fault::Tenant);
        findings.fault(CheckId::StatementSchema, fault, format!("the statement is of the tenant `{tenant}`"));
        own = false;
    } else {
        findings.pass(CheckId::StatementSchema);
    }
    if let (Some(signed), Some(named)) = (signer, statement.signer())
        && signed != named
    {
        let reason = format!("the statement names the signer `{named}`, but `{signed}` signed it");
        findings.fail(CheckId::EnvelopeSignature, reason);
        own = false;
    }
    own
}

/// `key.role`, `key.validity` and `key.revoked`.
fn judge_key(
    context: &Context<'_>,
    statement: &AnyStatement,
    signer: Option<&KeyId>,
    (kind, index): (Kind, u64),
    findings: &mut Findings,
) -> bool {
    let (Some(keyring), Some(signer), Some(role)) = (&context.keyring, signer, statement.role()) else {
        return false;
    };
    let faults = keyring.faults(signer, &role, index, statement.claimed_at());
    let mut good = true;
    for (check, of) in [
        (CheckId::KeyRole, [Standing::Unknown, Standing::Role].as_slice()),
        (CheckId::KeyValidity, [Standing::Validity].as_slice()),
        (CheckId::KeyRevoked, [Standing::Revoked].as_slice()),
    ] {
        let standing = faults.iter().find(|fault| of.contains(fault));
        let fault = standing.and_then(|standing| {
            let fault = match standing {
                Standing::Unknown => Fault::KeyUnknown,
                Standing::Role => Fault::KeyRole,
                Standing::Validity => Fault::KeyValidity,
                Standing::Revoked => Fault::KeyRevoked,
            };
            of_override(kind, fault)
        });
        good &= findings.require_or(check, fault, standing.is_none(), || {
            let told = standing.map(ToString::to_string).unwrap_or_default();
            format!("key `{signer}`, role `{role}`: {told}")
        });
    }
    good
}

/// The code of a fault that any record can have, where the record is an override.
fn of_override(kind: Kind, fault: Fault) -> Option<Fault> {
    (kind == Kind::Override).then_some(fault)
}

fn judge_kind(
    context: &Context<'_>,
    statement: AnyStatement,
    payload: &[u8],
    opening: Option<chancery_core::commitment::Opening>,
    entry: &Entry,
    judged: &mut Judged,
) -> What {
    match statement {
        AnyStatement::Decision(statement) => {
            let Statement { predicate, .. } = *statement;
            judged.execution_id = Some(predicate.execution_id.clone());
            let link = Link {
                key: context.tags.execution(predicate.execution_id.as_str()),
                record: context.tags.record(&entry.record),
                fingerprint: context.tags.fingerprint(&predicate.execution_fingerprint),
            };
            What::Decision(Box::new(decision::judge(context, predicate, opening, link, &mut judged.findings)))
        }
        AnyStatement::Override(statement) => {
            let link = link_of(context, &statement, judged);
            judge_approver(context, &statement.predicate, entry, &mut judged.findings);
            What::Override(statement, link)
        }
        AnyStatement::Resolution(statement) => {
            let link = link_of(context, &statement, judged);
            What::Resolution(statement, link)
        }
        AnyStatement::Confirmation(statement) => {
            let link = link_of(context, &statement, judged);
            What::Confirmation(statement, link)
        }
        AnyStatement::Verification(statement) => {
            let link = link_of(context, &statement, judged);
            What::Verification(link)
        }
        AnyStatement::Activation(statement) => {
            let Statement { predicate, .. } = *statement;
            What::Activation(Box::new(predicate))
        }
        AnyStatement::Erasure(statement) => What::Erasure(statement),
        AnyStatement::BuildIdentity(_) => What::Build(Digest::from_bytes(sha256(payload))),
        // Keyring lines have a kind of their own and are not parsed as entries.
        AnyStatement::Keyring(_) => What::Unreadable,
    }
}

fn link_of<P: AboutDecision>(context: &Context<'_>, statement: &Statement<P>, judged: &mut Judged) -> Link {
    let predicate = &statement.predicate;
    let id = predicate.execution_id();
    judged.execution_id = Some(id.clone());
    Link {
        key: context.tags.execution(id.as_str()),
        record: statement.decision().map_or([0; 12], |record| context.tags.record(&record)),
        fingerprint: context.tags.fingerprint(predicate.execution_fingerprint()),
    }
}

/// `override.signature` and the part of `override.separation` that the keyring decides.
fn judge_approver(context: &Context<'_>, predicate: &Override, entry: &Entry, findings: &mut Findings) {
    use chancery_core::keyring::Role;

    let check = CheckId::OverrideSignature;
    if !entry.trusted {
        findings.fail(check, "the override is not signed by a key that may sign it");
    }
    let version = context.keyring.as_ref().and_then(|keyring| keyring.version_before(entry.index));
    let Some(version) = version else { return };
    if let Some(key) = version.key(&predicate.signer).filter(|_| entry.trusted) {
        findings.require_or(check, Fault::Approver, key.subject == predicate.approver, || {
            format!("the key is that of `{}`, not of `{}`", key.subject, predicate.approver)
        });
    }
    let mut runtimes = version.predicate().keys_with(&Role::Runtime);
    if runtimes.any(|key| key.subject == predicate.approver || *key.key.key_id() == predicate.signer) {
        let reason = format!("the approver `{}` is a runtime", predicate.approver);
        findings.fault(CheckId::OverrideSeparation, Fault::Separation, reason);
    }
}
