//! Connections to PostgreSQL, in pure Rust: where the server is, TLS, and what it has to promise.
//!
//! ```text
//! postgres://user@host:5432/database?sslmode=verify-full&sslrootcert=/etc/chancery/ca.pem
//! ```
//!
//! Beyond this machine TLS with a verified certificate is required, whatever the URL says. What is committed has to be
//! on disk: a server, database or role that says otherwise (`synchronous_commit`, `fsync`, `full_page_writes`) is
//! refused when a connection is opened. Every connection names its tenant, which row-level security holds it to.
//!
//! A server may hang without being down. So the wait for each answer has a bound; beyond it the connection is as good as
//! lost, and is treated as one that is.

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chancery_core::ids::TenantId;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{Bool, Text};
use diesel::{QueryableByName, RunQueryDsl as _};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::{AsyncConnectionWrapper, BlockOn};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::connection::{Patience, Purpose};
use crate::error::StoreError;

/// A connection to PostgreSQL that blocks.
pub(crate) type Postgres = AsyncConnectionWrapper<AsyncPgConnection, Reactor>;

/// Longest time that connecting to one of the URL's hosts takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What was sent and is not acknowledged after this time, or a peer that is silent for it, ends a TCP connection, unless
/// the URL says something else.
const TCP_TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    /// A reactor on its way to the connection that was made with it: [`BlockOn`] has no other way to hand it over.
    static MADE: Cell<Option<Reactor>> = const { Cell::new(None) };
}

/// Drives the socket of one connection, on the thread that waits for an answer and while it waits. A thread that did so
/// for all of them would be woken for each message, and wake whoever waits for it.
pub(crate) struct Reactor {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    /// Ends what reads and writes the socket; whoever waits for an answer is told that the connection is closed.
    driver: AbortHandle,
    /// How long an answer may take.
    patience: Option<Duration>,
}

impl BlockOn for Reactor {
    #[expect(clippy::expect_used, reason = "it is there until it is dropped, and `connect` has made it")]
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.as_ref().expect("the reactor").block_on(async {
            let mut future = pin!(future);
            if let Some(patience) = self.patience {
                if let Ok(output) = timeout(patience, &mut future).await {
                    return output;
                }
                tracing::warn!(error = %NoAnswer(patience), "a connection to the database is given up");
                self.driver.abort();
            }
            future.await
        })
    }

    #[expect(clippy::expect_used, reason = "`connect` makes one right before it is taken")]
    fn get_runtime() -> Self {
        MADE.take().expect("the reactor")
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A connection may be dropped where nothing may block.
            runtime.shutdown_background();
        }
    }
}

/// The server says nothing.
#[derive(Debug, thiserror::Error)]
#[error("the server has not answered for {} ms", .0.as_millis())]
struct NoAnswer(Duration);

/// Reads and writes the socket until the connection ends. Whoever waits for an answer then hears no more than that it is
/// closed.
async fn drive<S: TlsStream + Unpin>(connection: tokio_postgres::Connection<Socket, S>) {
    if let Err(error) = connection.await {
        tracing::warn!(%error, "a connection to the database was lost");
    }
}

/// Where a PostgreSQL database is: a URL as libpq has them. Its debug text leaves out the password.
#[derive(Clone, Eq, PartialEq)]
pub struct PostgresUrl {
    config: Config,
    root_certificates: Option<PathBuf>,
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for PostgresUrl {
    /// Host and database: enough to tell it from another one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "localhost".to_owned(),
        };
        write!(f, "postgres://{host}/{}", self.config.get_dbname().unwrap_or_default())
    }
}

/// Why a text is no URL of a database.
#[derive(Debug, thiserror::Error)]
pub enum PostgresUrlError {
    /// Not a URL that PostgreSQL's clients take.
    #[error("not a PostgreSQL URL; one is `postgres://user@host:5432/database?sslmode=verify-full`")]
    Form(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An `sslmode` that is not known.
    #[error("`sslmode={mode}` is not known; it is `disable` (on this machine alone) or `verify-full`")]
    SslMode {
        /// What was given.
        mode: String,
    },
    /// No TLS to another machine.
    #[error("the database is on another machine, so `sslmode` has to be `verify-full`")]
    NoTls,
}

impl FromStr for PostgresUrl {
    type Err = PostgresUrlError;

    fn from_str(text: &str) -> Result<Self, PostgresUrlError> {
        // These two are libpq's and have another meaning, or none, for the driver.
        let (start, query) = text.split_once('?').map_or((text, ""), |(start, query)| (start, query));
        let (mut mode, mut root_certificates, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value.to_owned()),
                Some(("sslrootcert", path)) => root_certificates = Some(PathBuf::from(path)),
                _ => rest.push(pair),
            }
        }
        let url = if rest.is_empty() { start.to_owned() } else { format!("{start}?{}", rest.join("&")) };
        let mut config: Config =
            url.parse().map_err(|error: tokio_postgres::Error| PostgresUrlError::Form(error.into()))?;
        let local = config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => {
                name == "localhost"
                    || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        });
        let tls = match mode.as_deref() {
            None => !local,
            Some("disable") if local => false,
            Some("disable") => return Err(PostgresUrlError::NoTls),
            Some("verify-full") => true,
            Some(other) => return Err(PostgresUrlError::SslMode { mode: other.to_owned() }),
        };
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        config.connect_timeout(CONNECT_TIMEOUT).application_name("chancery");
        if !query.contains("keepalives") {
            config
                .keepalives_idle(TCP_TIMEOUT / 2)
                .keepalives_interval(TCP_TIMEOUT / 6)
                .keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_TIMEOUT);
        }
        Ok(Self { config, root_certificates })
    }
}

/// A setting of the server that would lose what was committed.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{setting}` is `{value}`, and has to be `{wanted}`: set it for the role, the database or the server"
)]
struct NotDurable {
    setting: String,
    value: String,
    wanted: &'static str,
}

#[derive(QueryableByName)]
struct Setting {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    setting: String,
}

impl PostgresUrl {
    /// The URL with the password of `other`, where nothing but that is missing to be the same.
    pub(crate) fn with_password_of(mut self, other: &Self) -> Self {
        let before = self.config.clone();
        if let (None, Some(password)) = (self.config.get_password(), other.config.get_password()) {
            self.config.password(password);
        }
        if self != *other {
            self.config = before;
        }
        self
    }

    /// Connects as `tenant`.
    pub(crate) fn connect(
        &self,
        tenant: &TenantId,
        purpose: Purpose,
        patience: Patience,
    ) -> Result<Postgres, StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX).max(1);
        let each = patience.answer.map_or(CONNECT_TIMEOUT, |answer| answer.min(CONNECT_TIMEOUT));
        let limit = each.saturating_mul(hosts);
        let (connection, driver) = runtime
            .block_on(async { timeout(limit, self.establish()).await })
            .map_err(|_| failed(NoAnswer(limit)))??;
        MADE.set(Some(Reactor { runtime: Some(runtime), driver, patience: patience.answer }));
        let timeout_ms = patience.lock_ms;
        let mut connection = Postgres::from(connection);
        // Tenant ids have no character that means something in SQL.
        // Who reads has each statement planned for the tables as they are: a plan that was made while they were empty, and
        // kept, may take any index. Who writes keeps the plans: what every batch runs is such that there is one plan, and
        // before the log writer looks up anything else it asks for new ones (`Connection::plan_anew`).
        let (read_only, plans) = match purpose {
            Purpose::Read => ("on", "force_custom_plan"),
            _ => ("off", "auto"),
        };
        connection
            .batch_execute(&format!(
                "SET chancery.tenant = '{tenant}'; SET lock_timeout = {timeout_ms}; SET TIME ZONE 'UTC'; \
                 SET default_transaction_read_only = {read_only}; SET standard_conforming_strings = on; \
                 SET plan_cache_mode = {plans}"
            ))
            .map_err(|error| StoreError::database("set up the connection", error))?;
        if purpose != Purpose::Read {
            check_durable(&mut connection)?;
            check_role(&mut connection)?;
        }
        Ok(connection)
    }

    async fn establish(&self) -> Result<(AsyncPgConnection, AbortHandle), StoreError> {
        let (client, driver) = if self.config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = self.config.connect(NoTls).await.map_err(failed)?;
            (client, tokio::spawn(drive(connection)))
        } else {
            let tls = MakeRustlsConnect::new(self.tls()?);
            let (client, connection) = self.config.connect(tls).await.map_err(failed)?;
            (client, tokio::spawn(drive(connection)))
        };
        let connection = AsyncPgConnection::try_from(client).await.map_err(failed)?;
        Ok((connection, driver.abort_handle()))
    }

    /// TLS that trusts `sslrootcert`, or what this machine trusts.
    fn tls(&self) -> Result<rustls::ClientConfig, StoreError> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        use rustls_platform_verifier::BuilderVerifierExt as _;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let Some(path) = &self.root_certificates else {
            return Ok(builder.with_platform_verifier().map_err(failed)?.with_no_client_auth());
        };
        let pem =
            fs::read(path).map_err(|source| StoreError::Io { doing: "read", path: path.clone(), source })?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(failed)?).map_err(failed)?;
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Database { doing: "connect", source: source.into() }
}

/// Refuses a server that answers COMMIT before it has written.
pub(crate) fn check_durable(connection: &mut Postgres) -> Result<(), StoreError> {
    let doing = "read the server's settings";
    let settings: Vec<Setting> = diesel::sql_query(
        "SELECT name, setting FROM pg_settings \
         WHERE name IN ('synchronous_commit', 'fsync', 'full_page_writes') ORDER BY name",
    )
    .load(connection)
    .map_err(|error| StoreError::database(doing, error))?;
    for Setting { name, setting } in settings {
        // `local` and the remote modes all wait for the local disk.
        let holds = match name.as_str() {
            "synchronous_commit" => setting != "off",
            _ => setting == "on",
        };
        if !holds {
            let source = Box::new(NotDurable { setting: name, value: setting, wanted: "on" });
            return Err(StoreError::Database { doing: "trust the server", source });
        }
    }
    Ok(())
}

/// A role that row-level security does not hold.
#[derive(Debug, thiserror::Error)]
#[error("the role `{role}` sees the rows of every tenant: use one that is no superuser and has no BYPASSRLS")]
struct SeesEverything {
    role: String,
}

#[derive(QueryableByName)]
struct Role {
    #[diesel(sql_type = Text)]
    rolname: String,
    #[diesel(sql_type = Bool)]
    free: bool,
}

/// Refuses a role that would see other tenants' rows.
pub(crate) fn check_role(connection: &mut Postgres) -> Result<(), StoreError> {
    let sql =
        "SELECT rolname::text, rolsuper OR rolbypassrls AS free FROM pg_roles WHERE rolname = current_user";
    let Role { rolname, free } = diesel::sql_query(sql)
        .get_result(connection)
        .map_err(|error| StoreError::database("read the role", error))?;
    if free {
        let source = Box::new(SeesEverything { role: rolname });
        return Err(StoreError::Database { doing: "trust the role", source });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_machine_there_is_tls() {
        let parse = |text: &str| text.parse::<PostgresUrl>();
        for (url, mode) in [
            ("postgres://u@localhost/d", SslMode::Disable),
            ("postgres://u@127.0.0.1:5433/d", SslMode::Disable),
            ("postgres:///d?host=/run/postgresql&user=u", SslMode::Disable),
            ("postgres://u@localhost/d?sslmode=verify-full", SslMode::Require),
            ("postgres://u@db.example/d", SslMode::Require),
            ("postgres://u@db.example/d?sslmode=verify-full&sslrootcert=/ca.pem", SslMode::Require),
        ] {
            assert_eq!(parse(url).unwrap().config.get_ssl_mode(), mode, "{url}");
        }
        assert!(matches!(parse("postgres://u@db.example/d?sslmode=disable"), Err(PostgresUrlError::NoTls)));
        for mode in ["prefer", "require", "verify-ca", "allow"] {
            let url = format!("postgres://u@db.example/d?sslmode={mode}");
            assert!(matches!(parse(&url), Err(PostgresUrlError::SslMode { .. })), "{mode}");
        }
        assert!(matches!(parse("mysql://x"), Err(PostgresUrlError::Form(_))));
    }

    #[test]
    fn a_password_is_not_shown() {
        let url: PostgresUrl = "postgres://u:secret@localhost/d".parse().unwrap();
        assert_eq!(format!("{url:?}"), "postgres://localhost/d");
    }
}
