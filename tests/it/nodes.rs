//! Several nodes on one PostgreSQL: who does what, what one learns of the other, and restarts that nobody notices.

mod endurance;
mod size;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use chancery_tests::home::copy_folder;
use chancery_tests::postgres;
use chancery_tests::program::{chancery, repository, run};
use chancery_tests::server::Server;
use serde_json::Value;

use crate::http::{get, post};
use crate::postgres::{claim, database, nodes, verified};

/// Looks until `found` has something; what is waited for comes by itself, or the test is stuck.
fn eventually<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Publishes version 1.0.1 of the policy for claims, from the command line of a node, and puts it in force.
fn activate_next(home: &Path) {
    let folder = home.join("policies/claim-approval");
    fs::create_dir(folder.join("1.0.1")).unwrap();
    copy_folder(&folder.join("1.0.0"), &folder.join("1.0.1"));
    let manifest = folder.join("1.0.1/bundle.toml");
    let text = fs::read_to_string(&manifest).unwrap().replace("version = \"1.0.0\"", "version = \"1.0.1\"");
    fs::write(&manifest, text).unwrap();
    let bundle = "policies/claim-approval/1.0.1";
    run(&mut chancery(home), ["bundle", "sign", bundle, "--no-input"]).expect(0);
    run(&mut chancery(home), ["bundle", "publish", bundle, "--no-input"]).expect(0);
    run(&mut chancery(home), ["bundle", "activate", "claim-approval@1.0.1", "--reason", "newer"]).expect(0);
}

#[test]
fn what_one_node_puts_in_force_is_in_force_on_the_other_a_moment_later() {
    let Some([first, second]) = nodes() else { return };
    let server = Server::start(second.path());
    activate_next(first.path());
    let begun = Instant::now();
    // A version that is named has to be in force as far as the node knows: nothing else tells it here.
    let mut request: Value = serde_json::from_slice(&claim("after")).unwrap();
    request["version"] = "1.0.1".into();
    let decisions = format!("{}/v1/decisions", server.url);
    let answer = eventually("the other node's bundle", || {
        let (status, _, answer) = post(&decisions, request.to_string().as_bytes());
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(status == 201 || answer["code"] == "policy.not_in_force", "{answer}");
        (status == 201).then_some(answer)
    });
    eprintln!("in force on the other node {} ms after the command had ended", begun.elapsed().as_millis());
    assert_eq!(answer["policy"]["version"], "1.0.1");
    assert!(server.stop().success());
    verified(second.path(), 1);
}

/// Holder and fence of each work, `work|fence|holder` a line.
fn leases(home: &Path) -> Vec<String> {
    let rows = "SELECT work, fence, holder FROM leases ORDER BY work";
    postgres::as_superuser(&database(home), rows).lines().map(str::to_owned).collect()
}

fn checkpoint_size(server: &Server) -> Option<u64> {
    let (status, note) = get(&format!("{}/v1/log/acme/checkpoint", server.url));
    (status == 200).then(|| note.lines().nth(1).unwrap().parse().unwrap())
}

#[test]
fn a_node_that_was_killed_is_replaced_and_one_that_ends_hands_over() {
    let Some([first, second]) = nodes() else { return };
    let one = Server::start(first.path());
    let held =
        eventually("the first node's leases", || Some(leases(first.path())).filter(|all| all.len() == 2));
    assert!(held.iter().all(|lease| lease.contains("|1|")), "{held:?}");
    let other = Server::start(second.path());
    let (status, _, answer) = post(&format!("{}/v1/decisions", one.url), &claim("one"));
    assert_eq!(status, 201, "{answer}");
    one.kill();
    let (status, _, answer) = post(&format!("{}/v1/decisions", other.url), &claim("other"));
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let index = answer["log"]["index"].as_u64().unwrap();
    eventually("a checkpoint of the node that is left", || {
        checkpoint_size(&other).filter(|size| *size > index)
    });
    let taken = eventually("the other node's lease", || {
        leases(first.path()).into_iter().find(|lease| lease.starts_with("checkpoints|2|"))
    });
    assert_ne!(taken.rsplit('|').next(), held[0].rsplit('|').next());
    assert!(other.stop().success());
    // Given back: the next one waits for nothing.
    let third = Server::start(first.path());
    eventually("the third term", || {
        leases(first.path()).iter().any(|lease| lease.contains("|3|")).then_some(())
    });
    assert!(third.stop().success());
    verified(first.path(), 2);
}

#[test]
fn a_node_without_a_memory_starts_once_it_has_adopted_the_log() {
    let Some([first, second]) = nodes() else { return };
    let known = run(&mut chancery(first.path()), ["log", "checkpoint"]).expect(0).out;
    fs::remove_file(second.path().join("state/checkpoint")).unwrap();
    let refused = run(&mut chancery(second.path()), ["override", "expire"]).expect(9);
    assert!(refused.err.contains("chancery log adopt"), "{}", refused.err);
    run(&mut chancery(second.path()), ["log", "adopt"]).expect(2);
    // Of another log: nobody has signed that.
    fs::write(second.path().join("other"), known.replacen("/acme\n", "/other\n", 1)).unwrap();
    fs::write(second.path().join("held"), &known).unwrap();
    run(&mut chancery(second.path()), ["log", "adopt", "--checkpoint", "other"]).expect(9);
    run(&mut chancery(second.path()), ["log", "adopt", "--checkpoint", "held"]).expect(0);
    run(&mut chancery(second.path()), ["log", "adopt", "--checkpoint", "held"]).expect(11);
    let server = Server::start(second.path());
    assert_eq!(post(&format!("{}/v1/decisions", server.url), &claim("one")).0, 201);
    assert!(server.stop().success());
    run(&mut chancery(second.path()), ["fsck", "--full"]).expect(0);
}

/// An auditor's role reads one tenant's rows, whatever tenant it names, and writes nothing.
#[test]
fn an_auditors_role_reads_one_tenant_and_writes_nothing() {
    let Some([first, second]) = nodes() else { return };
    let server = Server::start(first.path());
    assert_eq!(post(&format!("{}/v1/decisions", server.url), &claim("one")).0, 201);
    assert!(server.stop().success());
    let url = database(first.path());
    let role = format!("auditor_{}", url.trim_start_matches("postgres:///").split('?').next().unwrap());
    let make = fs::read_to_string(repository().join("docs/auditor-role.sql")).unwrap();
    postgres::as_superuser(&url, &make.replace("auditor_acme", &role));
    let as_auditor = |arguments: &[&str]| {
        let mut command = chancery(second.path());
        run(
            command.env("CHANCERY_DATABASE", url.replace("user=chancery", &format!("user={role}"))),
            arguments,
        )
    };
    as_auditor(&["fsck"]).expect(0);
    let shown = as_auditor(&["decision", "show", "one", "-o", "json"]).expect(0);
    assert_eq!(shown.json()["execution_id"], "one");
    as_auditor(&["log", "proof", "2"]).expect(0);
    let refused = as_auditor(&["override", "expire"]);
    assert_ne!(refused.code, 0, "{}", refused.out);
    // What SQL gives the role, and what it does not.
    let ask = |tenant: &str, sql: &str| {
        postgres::as_superuser(&url, &format!("SET ROLE {role}; SET chancery.tenant = '{tenant}'; {sql}"))
    };
    assert_eq!(ask("acme", "SELECT count(*) FROM audit_decisions").trim(), "1");
    assert_eq!(ask("other", "SELECT count(*) FROM audit_decisions").trim(), "0");
    postgres::as_superuser(&url, "INSERT INTO settings VALUES ('other', 'log.example/other', 'test', '')");
    assert_eq!(ask("other", "SELECT count(*) FROM settings").trim(), "0");
    assert_eq!(ask("acme", "SELECT count(*) FROM settings").trim(), "1");
    for secret in ["tenant_keys", "api_keys"] {
        let sql = format!("SET ROLE {role}; SET chancery.tenant = 'acme'; SELECT * FROM {secret}");
        assert!(postgres::refused(&url, &sql).contains("permission denied"), "{secret}");
    }
    let writes = postgres::refused(
        &url,
        &format!(
            "SET ROLE {role}; SET chancery.tenant = 'acme'; INSERT INTO leases VALUES ('acme', 'x', 'x', 1, now())"
        ),
    );
    assert!(writes.contains("permission denied") || writes.contains("read-only"), "{writes}");
}

/// A server needs a role that owns nothing and can change no record.
#[test]
fn a_server_works_as_a_role_that_owns_no_tables() {
    let Some([first, second]) = nodes() else { return };
    let owner = database(first.path());
    let name = owner.trim_start_matches("postgres:///").split('?').next().unwrap();
    let role = format!("node_{name}");
    postgres::as_superuser(&owner, &format!("CREATE ROLE {role} LOGIN"));
    let grants = fs::read_to_string(repository().join("docs/node-role.sql")).unwrap();
    let grants = grants.replace("chancery_node", &role);
    postgres::as_superuser(&owner, &format!("SET ROLE chancery;\n{grants}"));
    for home in [&first, &second] {
        let file = home.path().join("chancery.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("user=chancery", &format!("user={role}"))).unwrap();
    }

    let server = Server::start(second.path());
    let (status, _, answer) = post(&format!("{}/v1/decisions", server.url), &claim("one"));
    assert_eq!(status, 201, "{answer}");
    assert!(server.stop().success());
    activate_next(first.path());
    run(&mut chancery(first.path()), ["apikey", "create", "--principal", "p", "--role", "reader"]).expect(0);
    // Incomplete, because a log for tests has no build.
    run(&mut chancery(first.path()), ["verification", "backfill"]).expect(6);
    verified(first.path(), 1);
    let said = run(&mut chancery(first.path()), ["doctor"]);
    assert!(said.out.contains("owns no tables"), "{}", said.out);

    // It changes nothing, and cannot take away what refuses it.
    let refused = |sql: &str| {
        postgres::refused(&owner, &format!("SET ROLE {role}; SET chancery.tenant = 'acme'; {sql}"))
    };
    for sql in [
        "UPDATE decisions SET outcome = 'approve'",
        "DELETE FROM log_entries",
        "DELETE FROM openings",
        "TRUNCATE decisions",
        "ALTER TABLE decisions DISABLE TRIGGER ALL",
        "DROP TABLE decisions",
        "ALTER TABLE decisions NO FORCE ROW LEVEL SECURITY",
    ] {
        let said = refused(sql);
        assert!(
            ["permission denied", "must be owner", "openings goes only"].iter().any(|why| said.contains(why)),
            "{sql}: {said}"
        );
    }

    // A step is missing: only the owner may apply it.
    run(&mut chancery(first.path()), ["db", "status"]).expect(0);
    let last = "2026-11-21-120000";
    let undo = fs::read_to_string(repository().join(format!("migrations/postgres/{last}_leases/down.sql")));
    let forget = format!(
        "SET ROLE chancery; {} DELETE FROM __diesel_schema_migrations WHERE version = '20261121120000'",
        undo.unwrap()
    );
    postgres::as_superuser(&owner, &forget);
    run(&mut chancery(first.path()), ["db", "status"]).expect(6);
    let refused = run(&mut chancery(first.path()), ["db", "migrate"]).expect(2);
    assert!(refused.err.contains("the role that owns the tables"), "{}", refused.err);
    run(&mut chancery(first.path()), ["override", "expire"]).expect(2);
    let mut as_owner = chancery(first.path());
    run(as_owner.env("CHANCERY_DATABASE", &owner), ["db", "migrate"]).expect(0);
    run(&mut chancery(first.path()), ["db", "status"]).expect(0);
}

/// A node behind a balancer.
struct Target {
    /// API and operator's port.
    urls: RwLock<(String, String)>,
    ready: AtomicBool,
}

impl Target {
    fn of(server: &Server) -> Self {
        let urls = RwLock::new((server.url.clone(), server.operator_url.clone()));
        Self { urls, ready: AtomicBool::new(true) }
    }

    fn look(&self, agent: &ureq::Agent) {
        let operator = self.urls.read().unwrap().1.clone();
        let ready = agent.get(format!("{operator}/readyz")).call().is_ok_and(|answer| answer.status() == 200);
        self.ready.store(ready, Ordering::Relaxed);
    }
}

/// What a balancer with health checks does: the next ready node's turn, another one where a connection is refused, and
/// nothing else is tried twice.
fn balanced(
    agent: &ureq::Agent,
    targets: &[Target; 2],
    turn: usize,
    path: &str,
    body: &[u8],
) -> Result<(u16, String), String> {
    for attempt in 0.. {
        let chosen = (turn + attempt) % 2;
        let target = [chosen, 1 - chosen].map(|number| &targets[number]);
        let target = target.iter().find(|target| target.ready.load(Ordering::Relaxed)).unwrap_or(&target[0]);
        let url = format!("{}{path}", target.urls.read().unwrap().0);
        let kind = if path.ends_with(":batch") { "application/x-ndjson" } else { "application/json" };
        match agent.post(url).content_type(kind).send(body) {
            Ok(mut answer) => {
                let status = answer.status().as_u16();
                return answer
                    .body_mut()
                    .read_to_string()
                    .map(|text| (status, text))
                    .map_err(|e| e.to_string());
            }
            Err(ureq::Error::ConnectionFailed) if attempt < 500 => {}
            Err(ureq::Error::Io(error))
                if error.kind() == std::io::ErrorKind::ConnectionRefused && attempt < 500 => {}
            Err(error) => return Err(error.to_string()),
        }
        thread::sleep(Duration::from_millis(10));
    }
    unreachable!("the attempts are without end")
}

#[test]
fn nodes_are_restarted_one_after_another_without_a_failed_request() {
    let Some([first, second]) = nodes() else { return };
    let homes = [first.path(), second.path()];
    let start = |home: &Path| {
        Server::start_with(home, &mut |command| _ = command.env("CHANCERY_DRAIN_DELAY_MS", "1000"))
    };
    let mut servers = homes.map(|home| Some(start(home)));
    let targets = [0, 1].map(|number| Target::of(servers[number].as_ref().unwrap()));
    let (decided, over, failed) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Vec::new()));
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    thread::scope(|scope| {
        let (agent, targets, decided, over, failed) = (&agent, &targets, &decided, &over, &failed);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                targets.iter().for_each(|target| target.look(agent));
                thread::sleep(Duration::from_millis(20));
            }
        });
        for worker in 0..4_usize {
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    // Every fourth worker sends batches.
                    let ids = (0..if worker == 0 { 10 } else { 1 })
                        .map(|line| format!("r-{worker}-{number}-{line}"));
                    let body: Vec<Vec<u8>> = ids.map(|id| claim(&id)).collect();
                    let path = if worker == 0 { "/v1/decisions:batch" } else { "/v1/decisions" };
                    let answer = balanced(agent, targets, worker + number, path, &body.join(&b'\n'));
                    let good = |(status, text): &(u16, String)| {
                        let answers = text.lines().filter(|line| line.contains("\"attestation\"")).count();
                        *status == if worker == 0 { 200 } else { 201 } && answers == body.len()
                    };
                    match answer {
                        Ok(answer) if good(&answer) => {
                            decided.fetch_add(body.len() as u64, Ordering::Relaxed);
                        }
                        other => failed.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            });
        }
        let more = || {
            let enough = decided.load(Ordering::Relaxed) + 60;
            eventually("decisions", || {
                let failures = failed.lock().unwrap().len();
                (failures > 0 || decided.load(Ordering::Relaxed) >= enough).then_some(())
            });
        };
        more();
        for number in [0, 1] {
            assert!(servers[number].take().unwrap().stop().success(), "it ends with exit code 0");
            let again = start(homes[number]);
            *targets[number].urls.write().unwrap() = (again.url.clone(), again.operator_url.clone());
            servers[number] = Some(again);
            eventually("the node that was started again", || {
                targets[number].ready.load(Ordering::Relaxed).then_some(())
            });
            more();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.into_inner().unwrap(), [""; 0]);
    for server in servers.into_iter().flatten() {
        assert!(server.stop().success());
    }
    verified(first.path(), decided.into_inner());
}

#[test]
fn a_batch_that_does_not_end_in_time_is_cut_after_a_line_and_goes_on_elsewhere() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let Some([first, second]) = nodes() else { return };
    let server = Server::start_with(first.path(), &mut |command| {
        command.env("CHANCERY_DRAIN_TIMEOUT_MS", "200");
    });
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let head = format!(
        "POST /v1/decisions:batch HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = claim("b-1");
    line.push(b'\n');
    stream.write_all(format!("{:x}\r\n", line.len()).as_bytes()).unwrap();
    stream.write_all(&line).unwrap();
    stream.write_all(b"\r\n").unwrap();
    // The first answer is there, and the batch has no end.
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let first_answer = answers.find(|line| line.as_ref().unwrap().contains("\"b-1\"")).unwrap().unwrap();
    assert!(first_answer.contains("\"attestation\""), "{first_answer}");
    assert!(server.stop().success());
    let rest: Vec<String> = answers.map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("\"server.stopping\"")), "{rest:?}");
    assert_eq!(
        rest.iter().rev().find(|line| !line.is_empty()).map(String::as_str),
        Some("0"),
        "ended as HTTP does"
    );
    let other = Server::start(second.path());
    let decisions = format!("{}/v1/decisions:batch", other.url);
    let again = [claim("b-1"), claim("b-2")].join(&b'\n');
    let (status, _, answers) = post(&decisions, &again);
    let indexes: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["log"]["index"].clone())
        .collect();
    assert!(status == 200 && indexes[0].as_u64() < indexes[1].as_u64(), "{answers}");
    assert!(other.stop().success());
    verified(second.path(), 2);
}
