//! Motor claims to decide on: the facts of the sample bundle's own cases, each under new execution ids.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chancery_core::commitment::{Committed, Inputs, Opening, TenantKey, commit};
use chancery_core::digest::Digest;
use chancery_core::ids::{EntityUid, ExecutionId, TenantId};
use chancery_core::json::{Limits, Pointer, Value, parse};
use chancery_core::key::KeyId;
use chancery_core::signal::Signals;
use chancery_core::statement::{Decision, Environment, PolicyRef, Runtime, Statement};
use chancery_core::time::Timestamp;
use chancery_policy::{Bundle, ENGINE, Evaluation};

use crate::program::repository;

/// The principal that submits.
pub const PRINCIPAL: &str = "claims-core";

/// The tenant whose log it is.
const TENANT: &str = "acme";

/// The bundle `claim-approval`, and facts that it decides on.
pub struct Claims {
    /// The bundle.
    pub bundle: Bundle,
    facts: Vec<Facts>,
    principal: EntityUid,
    tenant: TenantId,
    binary: Digest,
}

/// The members of a request that matter here.
pub struct Request<'a> {
    /// The execution.
    pub execution_id: &'a ExecutionId,
    /// The claim.
    pub resource: &'a str,
    /// Its facts, as submitted.
    pub signals: &'a Value,
}

/// What is known of one claim.
struct Facts {
    /// As a system submits it.
    text: String,
    signals: Signals,
    evaluation: Evaluation,
}

/// A decision on a claim, before it is signed.
pub struct Decided {
    /// The facts, typed.
    pub signals: Signals,
    /// What they commit to.
    pub committed: Committed,
    /// What is said.
    pub statement: Statement<Decision>,
}

impl Claims {
    /// Reads the bundle of the repository.
    #[must_use]
    pub fn load() -> Self {
        let files = Self::files();
        let cases = files.iter().filter(|(path, _)| path.starts_with("cases/")).flat_map(|(_, text)| {
            match serde_json::from_slice(text).unwrap() {
                serde_json::Value::Array(cases) => cases,
                case => vec![case],
            }
        });
        let texts: Vec<String> = cases
            .filter(|case| case.get("candidates").is_none())
            .filter_map(|case| case.get("signals").map(ToString::to_string))
            .collect();
        let bundle = Bundle::from_files(files).unwrap();
        let principal = bundle.principal(PRINCIPAL).unwrap();
        let resource = bundle.resource("CLM-0").unwrap();
        let facts = texts.into_iter().map(|text| {
            let value: Value = parse(text.as_bytes(), Limits::REQUEST).unwrap();
            let signals = bundle.type_signals(&value, Pointer::root()).ok()?;
            let evaluation = bundle.evaluate(&principal, &resource, &signals, None);
            Some(Facts { text, signals, evaluation })
        });
        let facts: Vec<Facts> = facts.flatten().collect();
        assert!(facts.len() > 50, "the bundle's cases are there");
        Self { bundle, facts, principal, tenant: TENANT.parse().unwrap(), binary: Digest::of(b"a program") }
    }

    /// The bundle's files, by path.
    #[must_use]
    pub fn files() -> BTreeMap<String, Vec<u8>> {
        let root = repository().join("policies/claim-approval/1.0.0");
        let mut files = BTreeMap::new();
        collect(&root, &root, &mut files);
        files
    }

    /// The bundle's files with `count` policies in place of its own: each for one outcome, one kind of incident and a
    /// band of amounts, so that few are satisfied at a time, however many there are.
    #[must_use]
    pub fn files_with_policies(count: usize) -> BTreeMap<String, Vec<u8>> {
        const KINDS: [&str; 4] =
            ["Single Vehicle Collision", "Multi-vehicle Collision", "Vehicle Theft", "Parked Car"];
        const OUTCOMES: [&str; 3] = ["deny", "refer", "approve"];
        let mut files = Self::files();
        files.retain(|path, _| ["schema.cedarschema", "entities.json"].contains(&path.as_str()));
        let manifest = r#"
            id = "claim-approval"
            version = "1.0.0"
            description = "for a bench"
            principal = "System"
            resource = "Claim"
            outcomes = ["deny", "refer", "approve"]
            fallback = "refer"
        "#;
        files.insert("bundle.toml".to_owned(), manifest.as_bytes().to_vec());
        let policies: String = (0..count)
            .map(|at| {
                let (outcome, kind) = (OUTCOMES[at % OUTCOMES.len()], KINDS[at % KINDS.len()]);
                let band = at * 97_000 / count;
                format!(
                    r#"@id("band-{at}")
                    permit (principal, action == Action::"{outcome}", resource)
                    when {{
                      context.incidentType == "{kind}" && context.totalClaim >= {band} &&
                      context.totalClaim < {} && context.policyAnnualPremium.greaterThan(decimal("100.0"))
                    }};
                    "#,
                    band + 97_000 / count
                )
            })
            .collect();
        files.insert("bands.cedar".to_owned(), policies.into_bytes());
        files
    }

    /// Whose log it is.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant.clone()
    }

    /// The id of execution `number`.
    #[must_use]
    pub fn execution_id(number: usize) -> String {
        format!("claim-CLM-{number:07}")
    }

    /// The body of a request: execution `number`, facts that repeat after some ninety claims.
    #[must_use]
    pub fn request(&self, number: usize) -> Vec<u8> {
        let (id, facts) = (Self::execution_id(number), self.facts(number));
        let head =
            format!(r#"{{"execution_id":"{id}","policy":"claim-approval","resource":"CLM-{number:07}","#);
        format!(r#"{head}"signals":{}}}"#, facts.text).into_bytes()
    }

    /// What is decided on execution `number` at `executed_at` by `signer`: commits, and takes the evaluation from
    /// the first time.
    #[must_use]
    pub fn decide(&self, number: usize, executed_at: Timestamp, signer: &KeyId) -> Decided {
        let facts = self.facts(number);
        let resource = self.bundle.resource(&format!("CLM-{number:07}")).unwrap();
        let committed = self.commit(&resource, &facts.signals);
        let id = Self::execution_id(number).parse().unwrap();
        let evaluation = facts.evaluation.clone();
        let statement = self.state(id, resource, &committed, evaluation, executed_at, signer);
        Decided { signals: facts.signals.clone(), committed, statement }
    }

    /// From the body of a request to the facts and the statement on them: everything but the signature.
    #[must_use]
    pub fn decide_request(&self, request: &Request<'_>, executed_at: Timestamp, signer: &KeyId) -> Decided {
        let signals = self.bundle.type_signals(request.signals, Pointer::root()).unwrap();
        let resource = self.bundle.resource(request.resource).unwrap();
        let committed = self.commit(&resource, &signals);
        let evaluation = self.bundle.evaluate(&self.principal, &resource, &signals, None);
        let id = request.execution_id.clone();
        let statement = self.state(id, resource, &committed, evaluation, executed_at, signer);
        Decided { signals, committed, statement }
    }

    fn commit(&self, resource: &EntityUid, signals: &Signals) -> Committed {
        let inputs = Inputs {
            bundle_hash: &self.bundle.hash(),
            policy_id: self.bundle.manifest().id(),
            policy_version: self.bundle.manifest().version(),
            principal: &self.principal,
            resource,
            signals,
            candidates: None,
        };
        commit(&TenantKey::from_bytes([7; 32]), &inputs).unwrap()
    }

    fn state(
        &self,
        execution_id: ExecutionId,
        resource: EntityUid,
        committed: &Committed,
        evaluation: Evaluation,
        executed_at: Timestamp,
        signer: &KeyId,
    ) -> Statement<Decision> {
        let manifest = self.bundle.manifest();
        let decision = Decision {
            candidates: None,
            decision: evaluation.decision,
            environment: Environment::Production,
            executed_at,
            execution_fingerprint: committed.fingerprint,
            execution_id,
            execution_state: evaluation.state,
            labels: None,
            models: None,
            policy: PolicyRef {
                bundle_hash: self.bundle.hash(),
                engine: ENGINE.to_owned(),
                id: manifest.id().clone(),
                version: manifest.version().clone(),
            },
            principal: self.principal.clone(),
            resource,
            runtime: Runtime {
                binary: self.binary,
                build_identity: None,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            signals_root: committed.signals_root,
            signer: signer.clone(),
            tenant: self.tenant.clone(),
        };
        Statement::decision_of(decision).unwrap()
    }

    fn facts(&self, number: usize) -> &Facts {
        self.facts.get(number % self.facts.len()).expect("a remainder")
    }
}

impl Decided {
    /// The full opening.
    #[must_use]
    pub fn opening(&self) -> Opening {
        Opening::full(&self.committed.secret, &self.signals, None).unwrap()
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}
