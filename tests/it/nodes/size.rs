//! What a decision takes in a SQLite file.

use std::fs;

use chancery_tests::home::Home;
use chancery_tests::server::Server;

use crate::http::post;
use crate::postgres::claim;

#[test]
fn a_decision_takes_a_bounded_part_of_the_file() {
    let decisions: usize =
        std::env::var("CHANCERY_NODES_DECISIONS").map_or(500, |text| text.parse().unwrap());
    let home = Home::new();
    let server = Server::start(home.path());
    for first in (0..decisions).step_by(500) {
        let ids = (first..decisions.min(first + 500)).map(|number| claim(&format!("n-{number}")));
        let body = ids.collect::<Vec<_>>().join(&b'\n');
        let (status, _, answers) = post(&format!("{}/v1/decisions:batch", server.url), &body);
        assert!(status == 200 && !answers.contains("\"code\":\"log."), "{answers}");
    }
    assert!(server.stop().success());
    let bytes = usize::try_from(fs::metadata(home.database()).unwrap().len()).unwrap();
    let database = rusqlite::Connection::open(home.database()).unwrap();
    let mut rows = database
        .prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 8")
        .unwrap();
    let tables = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    println!(
        "\n| SQLite, {decisions} decisions | |\n|---|---|\n| file, bytes a decision | {} |",
        bytes / decisions
    );
    for (name, bytes) in tables.map(Result::unwrap) {
        println!("| {name}, bytes a decision | {} |", bytes / i64::try_from(decisions).unwrap());
    }
    let count: i64 = database.query_row("SELECT count(*) FROM decisions", [], |row| row.get(0)).unwrap();
    assert_eq!(usize::try_from(count).unwrap(), decisions);
    assert!(bytes / decisions < 16_384, "{bytes}");
}
