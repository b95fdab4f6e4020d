//! From the name of a key to something that signs: a cosign key file, or a `pkcs11:` URI of a key in a token.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use chancery_core::key::{Algorithm, PublicKey, Signer};
use chancery_runtime::keys;
use chancery_supply::pkcs11::{self, KeyUri, Pin, Pkcs11Error, Pkcs11Signer};
use zeroize::Zeroizing;

use super::open::{Home, PASSWORD_VARIABLE};
use super::password::{self, Password};
use super::{Exit, Failure};

/// The variable that holds the PIN of tokens.
const PIN_VARIABLE: &str = "CHANCERY_PIN";

/// Opens the key that `reference` names: the path of a key file, whose password comes from `password_file`,
/// `CHANCERY_PASSWORD` or a prompt, or the `pkcs11:` URI of a key in a token.
///
/// # Errors
/// The key cannot be used: not there, open to others, another password, a wrong PIN, no key for signing.
pub(super) fn open(
    reference: &str,
    password_file: Option<&Path>,
    home: &Home<'_>,
) -> Result<Arc<dyn Signer>, Failure> {
    let path = Path::new(reference);
    if pkcs11::is_uri(path) {
        return token(reference, home);
    }
    let what = format!("`{reference}`");
    let password = password::find(home.output, &what, password_file, PASSWORD_VARIABLE, false)?;
    open_with(path, &password, home)
}

/// The same, with the password that a key file has.
///
/// # Errors
/// As [`open`].
pub(super) fn open_with(
    key: &Path,
    password: &Password,
    home: &Home<'_>,
) -> Result<Arc<dyn Signer>, Failure> {
    match key.to_str() {
        Some(uri) if pkcs11::is_uri(key) => token(uri, home),
        _ => Ok(keys::load_signer(key, password)?),
    }
}

/// Makes a key pair inside a token, and gives its public half.
///
/// # Errors
/// As [`open`]; also when a key of that name is there.
pub(super) fn generate_in_token(
    uri: &str,
    algorithm: Algorithm,
    home: &Home<'_>,
) -> Result<PublicKey, Failure> {
    let uri = parse(uri)?;
    let mut id = [0; 8];
    home.edge
        .entropy
        .fill(&mut id)
        .map_err(|error| Failure::system("cannot choose the id of a key", &error))?;
    let made = Pkcs11Signer::generate(&uri, pin(&uri, home)?, algorithm, &id);
    Ok(made.map_err(refused)?.public_key().clone())
}

fn token(uri: &str, home: &Home<'_>) -> Result<Arc<dyn Signer>, Failure> {
    let uri = parse(uri)?;
    Ok(Arc::new(Pkcs11Signer::open(&uri, pin(&uri, home)?).map_err(refused)?))
}

fn parse(uri: &str) -> Result<KeyUri, Failure> {
    uri.parse().map_err(|error| {
        Failure::usage(error).help(
            "pkcs11:token=TOKEN;object=LABEL?module-path=/path/of/module.so&pin-source=file:/path/of/pin; \
             docs/guides/hsm.md has an example",
        )
    })
}

/// The PIN: from the file that the URI names, else `CHANCERY_PIN`, else a prompt.
fn pin(uri: &KeyUri, home: &Home<'_>) -> Result<Pin, Failure> {
    let token = uri.token();
    let pin = if let Some(file) = uri.pin_source() {
        password::from_file(file)?
    } else if let Some(value) = std::env::var_os(PIN_VARIABLE) {
        use std::os::unix::ffi::OsStringExt;
        Zeroizing::new(value.into_vec())
    } else if home.output.input && std::io::stdin().is_terminal() {
        let pin = rpassword::prompt_password(format!("PIN of the token `{token}`: "));
        let pin = pin.map_err(|error| Failure::system("cannot read a PIN", &error))?;
        Zeroizing::new(pin.into_bytes())
    } else {
        return Err(Failure::new(Exit::NotAuthorised, format!("there is no PIN for the token `{token}`")).help(
            format!("name a file with `pin-source=file:/path` in the URI, or set `{PIN_VARIABLE}`, or run at a terminal"),
        ));
    };
    match std::str::from_utf8(&pin) {
        Ok(pin) if !pin.is_empty() => Ok(Zeroizing::new(pin.to_owned())),
        _ => Err(Failure::new(
            Exit::NotAuthorised,
            format!("the PIN of the token `{token}` is empty or no UTF-8"),
        )
        .help("look at the file of `pin-source`, or at `CHANCERY_PIN`")),
    }
}

/// What a token's refusal means for the command.
fn refused(error: Pkcs11Error) -> Failure {
    use Pkcs11Error as E;
    let (exit, help) = match &error {
        E::ModuleMissing { .. } | E::Module { .. } => (
            Exit::Usage,
            "`module-path` is the shared library of the token's maker; for SoftHSM on Debian it is \
             /usr/lib/softhsm/libsofthsm2.so, in the package softhsm2",
        ),
        E::NoToken { .. } | E::NoAnswer { .. } => (
            Exit::NotFound,
            "`pkcs11-tool --module MODULE --list-token-slots` shows the tokens; SoftHSM looks where `SOFTHSM2_CONF` says",
        ),
        E::SeveralTokens { .. } => {
            (Exit::Usage, "`pkcs11-tool --module MODULE --list-token-slots` shows serial numbers")
        }
        E::PinIncorrect { .. } => (
            Exit::NotAuthorised,
            "the PIN comes from `pin-source` in the URI, else from `CHANCERY_PIN`, else from a prompt; keep a service \
             manager from starting the program again and again with a wrong one",
        ),
        E::PinLocked { .. } | E::PinLastTry { .. } | E::PinExpired { .. } => {
            (Exit::NotAuthorised, "docs/guides/hsm.md says what locks a token and how it is opened again")
        }
        E::NoKey { .. } | E::NoPublicKey { .. } => (
            Exit::NotFound,
            "`pkcs11-tool --module MODULE --login --list-objects` shows what is there; `chancery key generate URI` \
             makes a key pair",
        ),
        E::SeveralKeys { .. } => {
            (Exit::Usage, "`pkcs11-tool --module MODULE --login --list-objects` shows labels and ids")
        }
        E::NotForSigning { .. } | E::AlwaysAuthenticate { .. } | E::Curve { .. } | E::Extractable => (
            Exit::NotAuthorised,
            "`chancery key generate URI` makes a key pair in the token that can be used",
        ),
        E::PublicKey(_) | E::Point { .. } | E::OtherPublicKey { .. } | E::WrongAnswer => (
            Exit::Runtime,
            "do not use this key: look at the token's objects, and make a fresh key pair under another label",
        ),
        E::Exists { .. } => (Exit::Conflict, "choose another label or id"),
        E::NoLabel => (Exit::Usage, "name the new key with `;object=LABEL` in the URI"),
        E::Restarting | E::Token(_) => (
            Exit::Runtime,
            "look at the token and its module's own log; when it is back, run the command again",
        ),
    };
    Failure::because(exit, "cannot use the key in the token", &error).help(help)
}
