//! From the name of a key to something that signs: a cosign key file.

use std::path::Path;
use std::sync::Arc;

use chancery_core::key::Signer;
use chancery_runtime::keys;

use super::Failure;
use super::open::{Home, PASSWORD_VARIABLE};
use super::password;

/// Opens the key that `reference` names: the path of a key file, whose password comes from `password_file`,
/// `CHANCERY_PASSWORD` or a prompt.
///
/// # Errors
/// The key cannot be used: not there, open to others, another password.
pub(super) fn open(
    reference: &str,
    password_file: Option<&Path>,
    home: &Home<'_>,
) -> Result<Arc<dyn Signer>, Failure> {
    let what = format!("`{reference}`");
    let password = password::find(home.output, &what, password_file, PASSWORD_VARIABLE, false)?;
    Ok(Arc::new(keys::load(Path::new(reference), &password)?))
}
