//! Reads what stands before the entries, and judges it: header, keyring, bundles, builds.
//!
//! ```text
//! header ── keyring … ── bundle … ── build … ── first entry ──> the threads
//!           │ trusted from here on: who may sign what
//! ```

use std::collections::HashMap;
use std::io::BufRead;

use chancery_core::checkpoint::{Checkpoint, SignedCheckpoint};
use chancery_core::digest::LeafHash;
use chancery_core::dsse::Envelope;
use chancery_core::evidence::{Header, KeyringLine, Line, LineError, Range, RawLine, ReadError, Reader};
use chancery_core::keyring::{Keyring, KeyringError, Role, RootPub, Standing};
use chancery_core::log::{Kind, leaf_hash_of};
use chancery_core::time::Timestamp;

use crate::artefact::{Build, Policy};
use crate::ask::Ask;
use crate::check::CheckId;
use crate::context::{Context, Scope};
use crate::report::Counts;
use crate::table::Tags;
use crate::tally::{Findings, Spot, Tally, told};

/// A keyring version as a leaf of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyringLeaf {
    pub(crate) line: u64,
    pub(crate) index: u64,
    pub(crate) leaf: LeafHash,
}

/// What was read before the entries.
pub(crate) struct Preamble<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) keyring_leaves: Vec<KeyringLeaf>,
    /// The first line that is none of these, not judged yet; `None` at the end of the file.
    pub(crate) next: Option<RawLine>,
}

/// Why nothing can be judged.
pub(crate) enum Stop {
    /// The file has no header that can be read. The tally says why.
    NoHeader,
    /// The input failed.
    Read(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Reads up to the first entry.
pub(crate) fn read<'a, R: BufRead>(
    reader: &mut Reader<R>,
    root_pub: Option<&str>,
    ask: &'a Ask,
    tally: &mut Tally,
    counts: &mut Counts,
) -> Result<Preamble<'a>, Stop> {
    let header = read_header(reader, tally)?;
    let mut context = begin(header, ask, tally);
    let mut part = Part::Keyring(Vec::new());
    let mut keyring_leaves = Vec::new();
    let next = loop {
        let Some(raw) = reader.next_line()? else { break None };
        let spot = Spot::line(raw.number);
        // A broken line goes to the threads, which say what is wrong with it and with those after it.
        let Some(line) = parse(&raw) else { break Some(raw) };
        match line {
            Line::Keyring(line) => {
                let Part::Keyring(versions) = &mut part else { break Some(raw) };
                let leaf = keyring_leaf(&line, raw.number, &context, tally);
                keyring_leaves.push(leaf);
                versions.push((raw.number, line.index, line.envelope));
                counts.keyrings += 1;
            }
            Line::Bundle(line) => {
                if matches!(part, Part::Builds) {
                    break Some(raw);
                }
                part.leave_keyring(&mut context, root_pub, tally);
                let mut findings = Findings::default();
                findings.pass(CheckId::EvidenceFormat);
                let policy = Policy::judge(*line, raw.number, context.keyring.as_ref(), &mut findings);
                if context.policy_by_hash.contains_key(&policy.hash) {
                    findings.fail(CheckId::EvidenceFormat, "the bundle is in the file twice");
                } else {
                    context.policy_by_hash.insert(policy.hash, context.policies.len());
                    context.policies.push(policy);
                }
                tally.record(findings, spot);
                counts.bundles += 1;
            }
            Line::Build(line) => {
                part.leave_keyring(&mut context, root_pub, tally);
                part = Part::Builds;
                let mut findings = Findings::default();
                findings.pass(CheckId::EvidenceFormat);
                let build = Build::judge(&line, raw.number, context.keyring.as_ref(), &mut findings);
                if context.build_by_hash.contains_key(&build.hash) {
                    findings.fail(CheckId::EvidenceFormat, "the build is in the file twice");
                } else {
                    context.build_by_hash.insert(build.hash, context.builds.len());
                    context.builds.push(build);
                }
                tally.record(findings, spot);
                counts.builds += 1;
            }
            Line::Header(_) | Line::Entry(_) | Line::Trailer(_) => break Some(raw),
        }
    };
    part.leave_keyring(&mut context, root_pub, tally);
    Ok(Preamble { context, keyring_leaves, next })
}

fn parse(raw: &RawLine) -> Option<Line> {
    if raw.fault.is_some() { None } else { raw.parse_exact().ok() }
}

/// Which lines may still come.
enum Part {
    Keyring(Vec<(u64, u64, Envelope)>),
    Bundles,
    Builds,
}

impl Part {
    /// The keyring is whole: it can be judged, and with it the checkpoint.
    fn leave_keyring(&mut self, context: &mut Context<'_>, root_pub: Option<&str>, tally: &mut Tally) {
        let Self::Keyring(versions) = self else { return };
        context.keyring = judge_keyring(versions, context, root_pub, tally);
        judge_checkpoint(context, tally);
        context.since = judge_since(context, tally);
        *self = Self::Bundles;
    }
}

fn read_header<R: BufRead>(reader: &mut Reader<R>, tally: &mut Tally) -> Result<Header, Stop> {
    let format = CheckId::EvidenceFormat;
    let Some(raw) = reader.next_line()? else {
        tally.unknown(format, Spot::FILE, "the file is empty");
        return Err(Stop::NoHeader);
    };
    let spot = Spot::line(raw.number);
    if let Some(fault) = raw.fault {
        tally.fail(format, spot, fault.to_string());
        return Err(Stop::NoHeader);
    }
    match raw.parse_exact() {
        Ok(Line::Header(header)) => {
            tally.pass(format);
            return Ok(*header);
        }
        Ok(line) => tally.fail(format, spot, format!("the first line is no header but `{}`", line.kind())),
        // Another version may mean something else by every line: nothing can be said about the file.
        Err(error @ LineError::UnknownFormat { .. }) if is_our_family(&error) => {
            tally.unknown(format, spot, error.to_string());
        }
        Err(error) => tally.fail(format, spot, told(&error)),
    }
    Err(Stop::NoHeader)
}

fn is_our_family(error: &LineError) -> bool {
    matches!(error, LineError::UnknownFormat { found } if found.starts_with("chancery.evidence/"))
}

fn begin<'a>(header: Header, ask: &'a Ask, tally: &mut Tally) -> Context<'a> {
    let checkpoint = match SignedCheckpoint::parse_unverified(&header.checkpoint) {
        Ok(signed) => Some(signed.checkpoint().clone()),
        Err(error) => {
            tally.fail(CheckId::LogCheckpoint, Spot::line(1), told(&error));
            None
        }
    };
    let size = checkpoint.as_ref().map(|checkpoint| checkpoint.size);
    let scope = match header.range {
        None => Scope::Filtered,
        Some(Range { from: 0, to }) if size == Some(to) => Scope::Complete,
        Some(Range { from, to }) => {
            if size.is_some_and(|size| to > size) {
                let reason = format!("the range ends at {to}, which is beyond the checkpoint");
                tally.fail(CheckId::EvidenceComplete, Spot::line(1), reason);
            }
            Scope::Range { from, to }
        }
    };
    let root = checkpoint.as_ref().map_or([0; 32], |checkpoint| *checkpoint.root.as_bytes());
    Context {
        ask,
        header,
        scope,
        checkpoint,
        since: None,
        keyring: None,
        policies: Vec::new(),
        policy_by_hash: HashMap::new(),
        builds: Vec::new(),
        build_by_hash: HashMap::new(),
        tags: Tags::new(root),
    }
}

fn keyring_leaf(line: &KeyringLine, number: u64, context: &Context<'_>, tally: &mut Tally) -> KeyringLeaf {
    let leaf = leaf_hash_of(Kind::Keyring, &line.envelope.record_id());
    let mut findings = Findings::default();
    findings.pass(CheckId::EvidenceFormat);
    context.judge_inclusion(&leaf, line.index, line.proof.as_ref(), &mut findings);
    tally.record(findings, Spot { line: Some(number), index: Some(line.index), execution_id: None });
    KeyringLeaf { line: number, index: line.index, leaf }
}

/// The versions that follow from each other; those from the first fault on are not trusted.
fn judge_keyring(
    versions: &[(u64, u64, Envelope)],
    context: &Context<'_>,
    root_pub: Option<&str>,
    tally: &mut Tally,
) -> Option<Keyring> {
    let mut keyring: Option<Keyring> = None;
    let mut whole = true;
    for (line, index, envelope) in versions {
        let spot = Spot { line: Some(*line), index: Some(*index), execution_id: None };
        let added = match &mut keyring {
            Some(keyring) => keyring.push(*index, envelope),
            None => Keyring::walk(&[(*index, envelope.clone())]).map(|first| keyring = Some(first)),
        };
        if let Err(error) = added {
            tally.fail(check_of(&error), spot, told(&error));
            whole = false;
            break;
        }
        tally.pass(CheckId::KeyringChain);
    }
    let Some(keyring) = keyring else {
        if versions.is_empty() {
            tally.fail(CheckId::KeyringChain, Spot::FILE, "the file has no keyring");
        }
        tally.idle(CheckId::KeyringRoot, "there is no keyring");
        return None;
    };
    judge_newest(&keyring, context, tally);
    match root_pub.map(RootPub::parse) {
        None => tally.unknown(CheckId::KeyringRoot, Spot::FILE, "no root key was given"),
        Some(Err(error)) => {
            let reason = format!("the root key cannot be read: {}", told(&error));
            tally.unknown(CheckId::KeyringRoot, Spot::FILE, reason);
        }
        Some(Ok(root)) => match keyring.check_root(&root) {
            Ok(()) if whole => tally.pass(CheckId::KeyringRoot),
            Ok(()) => {}
            Err(error) => tally.fail(CheckId::KeyringRoot, Spot::FILE, error.to_string()),
        },
    }
    Some(keyring)
}

fn check_of(error: &KeyringError) -> CheckId {
    match error.check_id() {
        "keyring.root" => CheckId::KeyringRoot,
        _ => CheckId::KeyringChain,
    }
}

/// Whether the keyring is that of the header's log, and as new as was asked for.
fn judge_newest(keyring: &Keyring, context: &Context<'_>, tally: &mut Tally) {
    let newest = keyring.newest().predicate();
    let mut fail = |reason: String| tally.fail(CheckId::KeyringChain, Spot::FILE, reason);
    if newest.tenant != context.header.tenant {
        fail(format!("the keyring is of the tenant `{}`", newest.tenant));
    }
    if newest.log_origin != context.header.log_origin {
        fail(format!("the keyring is of the log `{}`", newest.log_origin));
    }
    if let Some(least) = context.ask.min_keyring.filter(|least| newest.version < *least) {
        fail(format!("the newest keyring version is {}, {least} was asked for", newest.version));
    }
}

/// `log.checkpoint` and `log.witness`.
fn judge_checkpoint(context: &Context<'_>, tally: &mut Tally) {
    let Some(keyring) = &context.keyring else {
        tally.unknown(CheckId::LogCheckpoint, Spot::line(1), "there is no keyring to find the log's key in");
        tally.idle(CheckId::LogWitness, "there is no keyring");
        return;
    };
    let Ok(signed) = SignedCheckpoint::parse_unverified(&context.header.checkpoint) else {
        tally.idle(CheckId::LogWitness, "there is no checkpoint");
        return;
    };
    let signature = log_signature(&signed, keyring, &context.header.log_origin, Some(context));
    match signature {
        Ok(()) => tally.pass(CheckId::LogCheckpoint),
        Err(reason) => tally.fail(CheckId::LogCheckpoint, Spot::line(1), reason),
    }
    judge_witnesses(&signed, keyring, tally);
}

/// Whether a log key of the newest keyring version below the checkpoint signed it.
///
/// A checkpoint has no time of its own. That of the file is judged at the time of the export; an auditor's older
/// one only by role and revocation.
fn log_signature(
    signed: &SignedCheckpoint,
    keyring: &Keyring,
    origin: &str,
    exported: Option<&Context<'_>>,
) -> Result<(), String> {
    // The first keyring version is the first entry: an empty log is signed by its keys too.
    let size = signed.checkpoint().size.max(1);
    let version =
        keyring.version_before(size).ok_or("no keyring version stands before the checkpoint's size")?;
    let mut reason = "the newest keyring version below the checkpoint has no log key".to_owned();
    for entry in version.predicate().keys_with(&Role::Log) {
        if let Err(error) = signed.verify(&entry.key, origin) {
            reason = told(&error);
            continue;
        }
        let id = entry.key.key_id();
        let at = exported.map_or(entry.valid_from, |context| context.header.exported_at);
        let faults = keyring.faults(id, &Role::Log, size, at);
        let fault = faults.iter().find(|fault| exported.is_some() || **fault != Standing::Validity);
        match fault {
            None => return Ok(()),
            Some(fault) => reason = format!("key `{id}`: {fault}"),
        }
    }
    Err(reason)
}

fn judge_witnesses(signed: &SignedCheckpoint, keyring: &Keyring, tally: &mut Tally) {
    let size = signed.checkpoint().size.max(1);
    let Some(version) = keyring.version_before(size).map(|version| version.predicate()) else { return };
    let quorum = version.witness_quorum();
    if quorum == 0 {
        tally.idle(CheckId::LogWitness, "the keyring names no witness");
        return;
    }
    let mut subjects: Vec<&str> = Vec::new();
    for entry in version.keys_with(&Role::Witness) {
        match signed.cosigned_by(&entry.subject, &entry.key) {
            Ok(None) => {}
            Ok(Some(seconds)) => {
                let at = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1_000_000));
                let at = at.and_then(Timestamp::from_unix_micros);
                let good =
                    at.is_some_and(|at| keyring.judge(entry.key.key_id(), &Role::Witness, size, at).is_ok());
                if good && !subjects.contains(&entry.subject.as_str()) {
                    subjects.push(&entry.subject);
                }
            }
            Err(error) => tally.fail(CheckId::LogWitness, Spot::line(1), told(&error)),
        }
    }
    let got = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
    if got >= quorum {
        tally.pass(CheckId::LogWitness);
    } else {
        let reason = format!("{got} of the {quorum} witnesses needed cosigned the checkpoint");
        tally.unknown(CheckId::LogWitness, Spot::line(1), reason);
    }
}

/// The auditor's older checkpoint. What is left to compare, is left to the fold.
fn judge_since(context: &Context<'_>, tally: &mut Tally) -> Option<Checkpoint> {
    let check = CheckId::LogConsistency;
    let Some(text) = &context.ask.since else {
        tally.idle(check, "no older checkpoint was given");
        return None;
    };
    let signed = match SignedCheckpoint::parse_unverified(text) {
        Ok(signed) => signed,
        Err(error) => {
            let reason = format!("the older checkpoint cannot be read: {}", told(&error));
            tally.unknown(check, Spot::FILE, reason);
            return None;
        }
    };
    let old = signed.checkpoint().clone();
    let origin = &context.header.log_origin;
    if old.origin != *origin {
        tally.unknown(check, Spot::FILE, format!("the older checkpoint is of the log `{}`", old.origin));
        return None;
    }
    let (Some(keyring), Some(new)) = (&context.keyring, &context.checkpoint) else {
        tally.unknown(check, Spot::FILE, "there is no keyring or no checkpoint to compare it with");
        return None;
    };
    if let Err(reason) = log_signature(&signed, keyring, origin, None) {
        tally.fail(check, Spot::FILE, format!("the older checkpoint is not signed by this log: {reason}"));
        return None;
    }
    if old.size > new.size {
        let reason = format!("the log had {} entries and now has {}", old.size, new.size);
        tally.fail(check, Spot::FILE, reason);
        return None;
    }
    if old.size == new.size {
        if old.root == new.root {
            tally.pass(check);
        } else {
            tally.fail(check, Spot::FILE, "the log has another root hash at the same size: it was forked");
        }
        return None;
    }
    if !context.is_complete() {
        let reason = "only a complete export can show that the log continues the older checkpoint";
        tally.unknown(check, Spot::FILE, reason);
        return None;
    }
    Some(old)
}
