//! Why a key in a token cannot be used.

use std::io;
use std::path::PathBuf;

use chancery_core::key::KeyError;

/// Why a key in a token cannot be used or made. No variant holds a PIN.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs11Error {
    /// There is no module, or it cannot be read.
    #[error("cannot read the PKCS #11 module `{}`", path.display())]
    ModuleMissing {
        /// Where it should be.
        path: PathBuf,
        /// What the file system says.
        #[source]
        source: io::Error,
    },
    /// The file is no PKCS #11 module, or does not start.
    #[error("`{}` does not start as a PKCS #11 module", path.display())]
    Module {
        /// The shared library.
        path: PathBuf,
        /// What it or the loader says.
        #[source]
        source: cryptoki::error::Error,
    },
    /// The module is being started again, because its tokens had gone.
    #[error("the PKCS #11 module is being started again")]
    Restarting,
    /// No token has this label.
    #[error("there is no token `{token}`")]
    NoToken {
        /// The label, and the serial number where one is asked for.
        token: String,
    },
    /// A token is there that does not answer.
    #[error("there is no token `{token}` that answers")]
    NoAnswer {
        /// The label asked for.
        token: String,
        /// What a token without an answer says.
        #[source]
        source: cryptoki::error::Error,
    },
    /// More than one token has this label.
    #[error(
        "several tokens are called `{token}`; add `;serial=…`, `softhsm2-util --show-slots` or the maker's tool prints it"
    )]
    SeveralTokens {
        /// The label.
        token: String,
    },
    /// The PIN is wrong.
    #[error(
        "the PIN of the token `{token}` is wrong; it is not tried again, because tokens lock after a few wrong PINs"
    )]
    PinIncorrect {
        /// The token.
        token: String,
    },
    /// The PIN is locked.
    #[error("the PIN of the token `{token}` is locked; its security officer has to set a new one")]
    PinLocked {
        /// The token.
        token: String,
    },
    /// One more wrong PIN would lock the token.
    #[error(
        "the token `{token}` locks after one more wrong PIN, so none is tried here; log in once with the maker's tool \
         (such as `pkcs11-tool --login`), then start again"
    )]
    PinLastTry {
        /// The token.
        token: String,
    },
    /// The PIN has to be changed first.
    #[error(
        "the PIN of the token `{token}` has expired or was never set; set a new one with the maker's tool"
    )]
    PinExpired {
        /// The token.
        token: String,
    },
    /// There is no such private key.
    #[error("the token `{token}` has no private key {key}")]
    NoKey {
        /// The token.
        token: String,
        /// Label and id that were looked for.
        key: String,
    },
    /// There are several.
    #[error("the token `{token}` has several private keys {key}; name one with `object` and `id`")]
    SeveralKeys {
        /// The token.
        token: String,
        /// Label and id that were looked for.
        key: String,
    },
    /// The public half cannot be found, or not without doubt.
    #[error(
        "the token `{token}` has no public key object for {key}, or several; it needs one with the same id or label"
    )]
    NoPublicKey {
        /// The token.
        token: String,
        /// Label and id of the private key.
        key: String,
    },
    /// The key may not sign.
    #[error("the key {key} in the token `{token}` is not for signing (CKA_SIGN is false)")]
    NotForSigning {
        /// The token.
        token: String,
        /// Label and id of the key.
        key: String,
    },
    /// The key wants the PIN for every signature.
    #[error(
        "the key {key} in the token `{token}` asks for its PIN at each signature (CKA_ALWAYS_AUTHENTICATE)"
    )]
    AlwaysAuthenticate {
        /// The token.
        token: String,
        /// Label and id of the key.
        key: String,
    },
    /// The key is of another kind.
    #[error(
        "the key is on no curve that is known here: Ed25519 and P-256 are (CKA_EC_PARAMS is `{parameters}`)"
    )]
    Curve {
        /// `CKA_EC_PARAMS` in hex; empty for keys that are on no curve.
        parameters: String,
    },
    /// The public half is no key.
    #[error("the public key in the token is no usable key")]
    PublicKey(#[from] KeyError),
    /// The bytes of the public half have none of the known forms.
    #[error("the public key in the token has an unknown form ({bytes} bytes of CKA_EC_POINT)")]
    Point {
        /// How many bytes there are.
        bytes: usize,
    },
    /// The public object belongs to another key.
    #[error(
        "the public key {key} in the token `{token}` is not that of the private key: what this signs does not verify"
    )]
    OtherPublicKey {
        /// The token.
        token: String,
        /// Label and id of the key.
        key: String,
    },
    /// The token answered with something that is no signature by the key. It is never handed on.
    #[error("the token answered with something that is no signature by its key")]
    WrongAnswer,
    /// A key of this name is there already.
    #[error("the token `{token}` has a key {key} already; no key is ever overwritten")]
    Exists {
        /// The token.
        token: String,
        /// Label and id.
        key: String,
    },
    /// A new key needs a label.
    #[error("a new key needs a label: add `;object=…`")]
    NoLabel,
    /// The token did not make the key as it was told to.
    #[error("the token made a key that can leave it, so the key was destroyed again")]
    Extractable,
    /// The token or its module failed.
    #[error("the token failed")]
    Token(#[from] cryptoki::error::Error),
}

impl Pkcs11Error {
    /// Whether trying again at once cannot help, and could lock the token.
    pub(super) fn is_about_the_pin(&self) -> bool {
        matches!(
            self,
            Self::PinIncorrect { .. }
                | Self::PinLocked { .. }
                | Self::PinLastTry { .. }
                | Self::PinExpired { .. }
        )
    }
}
