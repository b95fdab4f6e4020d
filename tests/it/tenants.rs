//! Several tenants on one server: two folders that `init` made, on one PostgreSQL or on a file each.

use std::fs;
use std::path::Path;

use chancery_tests::home::copy_folder;
use chancery_tests::postgres;
use chancery_tests::program::{chancery, repository, run};
use chancery_tests::server::Server;
use serde_json::Value;
use tempfile::TempDir;

use crate::http::get;
use crate::postgres::{claim, verified};

/// A tenant's folder.
fn home(tenant: &str, database: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    copy_folder(&repository().join("policies"), &folder.path().join("policies"));
    let init = ["init", "--no-input", "--environment", "test", "--tenant", tenant, "--db", database];
    run(&mut chancery(folder.path()), init).expect(0);
    folder
}

/// Puts `tenants` into the configuration of the first.
fn together(first: &Path, others: &[&Path]) {
    let file = first.join("chancery.toml");
    let named: Vec<String> =
        others.iter().map(|other| other.join("chancery.toml").display().to_string()).collect();
    let text = format!("tenants = {named:?}\n{}", fs::read_to_string(&file).unwrap());
    fs::write(file, text).unwrap();
}

fn key(folder: &Path, role: &str) -> String {
    let create = ["apikey", "create", "--principal", "claims-core", "--role", role];
    run(&mut chancery(folder), create).expect(0).out.trim().to_owned()
}

fn ask(method: &str, url: &str, key: &str, body: &[u8]) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let authorization = format!("Bearer {key}");
    let answer = match method {
        "GET" => agent.get(url).header("authorization", authorization).call(),
        _ => {
            agent.post(url).header("authorization", authorization).content_type("application/json").send(body)
        }
    };
    let mut answer = answer.unwrap();
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
}

fn two_logs_are_kept_apart(database: &str) {
    let (acme, globex) = (home("acme", database), home("globex", database));
    together(acme.path(), &[globex.path()]);
    let submitters = [&acme, &globex].map(|home| key(home.path(), "submitter"));
    let readers = [&acme, &globex].map(|home| key(home.path(), "reader"));
    let server = Server::start_with_credentials(acme.path());
    let url = format!("{}/v1/decisions", server.url);
    for (submitter, tenant) in submitters.iter().zip(["acme", "globex"]) {
        let (status, answer) = ask("POST", &url, submitter, &claim("claim-1"));
        assert_eq!(status, 201, "{tenant}: {answer}");
    }
    assert_eq!(ask("POST", &url, &submitters[1], &claim("claim-2")).0, 201);
    for (place, tenant) in ["acme", "globex"].into_iter().enumerate() {
        let (_, found) = ask("GET", &format!("{url}/claim-1"), &readers[place], b"");
        assert_eq!(found["statement"]["tenant"], tenant);
        let (_, list) = ask("GET", &url, &readers[place], b"");
        assert_eq!(list["items"].as_array().unwrap().len(), place + 1, "{tenant}");
    }
    assert_eq!(ask("GET", &format!("{url}/claim-2"), &readers[0], b"").0, 404);
    let (status, _) = get(&format!("{}/v1/trust/keyring", server.url));
    let (own, keyring) = get(&format!("{}/v1/trust/keyring?tenant=globex", server.url));
    assert_eq!((status, own), (400, 200));
    assert!(keyring.contains("envelope"));
    let (_, ready) = get(&format!("{}/readyz", server.operator_url));
    assert!(ready.contains("\"globex\"") && ready.contains("\"acme\""), "{ready}");
    assert!(server.stop().success());
    verified(acme.path(), 1);
    verified(globex.path(), 2);
}

#[test]
fn two_tenants_on_one_postgresql_are_kept_apart() {
    let Some(url) = postgres::database() else { return };
    two_logs_are_kept_apart(&url);
}

#[test]
fn two_tenants_in_files_are_kept_apart() {
    two_logs_are_kept_apart("chancery.db");
}

#[test]
fn a_tenant_that_does_not_open_stops_the_start_with_its_name() {
    let (acme, globex, same) = (home("acme", "a.db"), home("globex", "g.db"), home("acme", "s.db"));
    key(acme.path(), "reader");
    let text = fs::read_to_string(acme.path().join("chancery.toml")).unwrap();
    let refused = |others: &[&Path], code: i32| {
        fs::write(acme.path().join("chancery.toml"), &text).unwrap();
        together(acme.path(), others);
        run(&mut chancery(acme.path()), ["serve", "--listen", "127.0.0.1:0"]).expect(code).err
    };
    let said = refused(&[same.path()], 2);
    assert!(said.contains("both of the tenant `acme`"), "{said}");
    let said = refused(&[&globex.path().join("nowhere")], 2);
    assert!(said.contains("nowhere") && said.contains("named by `tenants`"), "{said}");
    fs::remove_file(globex.path().join("g.db")).unwrap();
    let said = refused(&[globex.path()], 10);
    assert!(said.contains("the log of `globex`"), "{said}");
}
