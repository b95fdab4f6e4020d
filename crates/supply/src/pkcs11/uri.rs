//! The name of a key in a token: a strict part of the PKCS #11 URI scheme (RFC 7512).
//!
//! ```text
//! pkcs11:token=T[;serial=S];object=L[;id=%01]?module-path=/usr/lib/…/module.so[&pin-source=file:/path]
//! ```
//! `token` and `module-path` are always there, and `object` (the label of the key) or `id` or both. Values are
//! percent-encoded UTF-8, `id` any bytes. Anything else is refused: an attribute that is not looked at could be the
//! one that tells two keys apart. A PIN never stands in a URI, because a URI stands in configurations and in lists of
//! processes; for the same reason no error here quotes a value that could be one.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const SCHEME: &str = "pkcs11:";

/// What stands unencoded in a value besides letters and digits (RFC 7512 §2.3); `/`, `?` and `|` in the query alone.
const PLAIN: &[u8] = b"-._~:[]@!$'()*+,=";

/// Whether a reference to a key is meant as a URI, and not as the path of a file.
#[must_use]
pub fn is_uri(reference: &Path) -> bool {
    reference.as_os_str().as_encoded_bytes().starts_with(SCHEME.as_bytes())
}

/// Which key of which token, by which module, and where its PIN is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyUri {
    token: String,
    serial: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    module: PathBuf,
    pin_source: Option<PathBuf>,
}

impl KeyUri {
    /// The label of the token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The serial number of the token, where labels alone do not tell tokens apart.
    #[must_use]
    pub fn serial(&self) -> Option<&str> {
        self.serial.as_deref()
    }

    /// The label of the key (`CKA_LABEL`).
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        self.object.as_deref()
    }

    /// The id of the key (`CKA_ID`).
    #[must_use]
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// The absolute path of the module, a shared library.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The absolute path of the file with the PIN.
    #[must_use]
    pub fn pin_source(&self) -> Option<&Path> {
        self.pin_source.as_deref()
    }
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let [mut token, mut serial, mut object, mut id, mut module, mut pin_source] = [const { None }; 6];
        for attribute in path.split(';').filter(|_| !path.is_empty()) {
            let (name, value) = split(attribute)?;
            let slot = match name {
                "token" => &mut token,
                "serial" => &mut serial,
                "object" => &mut object,
                "id" => &mut id,
                _ => return Err(UriError::unknown(name)),
            };
            put(slot, name, decode(name, value, b"&")?)?;
        }
        for attribute in query.split('&').filter(|_| !query.is_empty()) {
            let (name, value) = split(attribute)?;
            let slot = match name {
                "module-path" => &mut module,
                "pin-source" => &mut pin_source,
                _ => return Err(UriError::unknown(name)),
            };
            put(slot, name, decode(name, value, b"/?|")?)?;
        }
        let module = absolute("module-path", module.ok_or(UriError::Missing("module-path"))?, "")?;
        if object.is_none() && id.is_none() {
            return Err(UriError::Missing("object"));
        }
        Ok(Self {
            token: words("token", token.ok_or(UriError::Missing("token"))?)?,
            serial: serial.map(|value| words("serial", value)).transpose()?,
            object: object.map(|value| words("object", value)).transpose()?,
            id,
            module,
            pin_source: pin_source.map(|value| absolute("pin-source", value, "file:")).transpose()?,
        })
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attribute = |f: &mut fmt::Formatter<'_>, before: &str, value: &[u8]| {
            f.write_str(before)?;
            value.iter().try_for_each(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(*byte))
                }
                b'/' | b':' if before.starts_with(['?', '&']) => f.write_char(char::from(*byte)),
                _ => write!(f, "%{byte:02X}"),
            })
        };
        f.write_str(SCHEME)?;
        attribute(f, "token=", self.token.as_bytes())?;
        for (before, value) in [(";serial=", &self.serial), (";object=", &self.object)] {
            value.iter().try_for_each(|value| attribute(f, before, value.as_bytes()))?;
        }
        self.id.iter().try_for_each(|id| attribute(f, ";id=", id))?;
        attribute(f, "?module-path=", self.module.as_os_str().as_encoded_bytes())?;
        self.pin_source
            .iter()
            .try_for_each(|path| attribute(f, "&pin-source=file:", path.as_os_str().as_encoded_bytes()))
    }
}

fn split(attribute: &str) -> Result<(&str, &str), UriError> {
    attribute.split_once('=').ok_or(UriError::Form)
}

fn put(slot: &mut Option<Vec<u8>>, name: &str, value: Vec<u8>) -> Result<(), UriError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(UriError::Twice { name: name.to_owned() }),
    }
}

fn decode(name: &str, value: &str, also: &[u8]) -> Result<Vec<u8>, UriError> {
    let wrong = || UriError::Value { name: name.to_owned() };
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) =
                    (digit(bytes.next()).ok_or_else(wrong)?, digit(bytes.next()).ok_or_else(wrong)?);
                out.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
            }
            _ if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) || also.contains(&byte) => {
                out.push(byte)
            }
            _ => return Err(wrong()),
        }
    }
    if out.is_empty() { Err(wrong()) } else { Ok(out) }
}

fn words(name: &str, value: Vec<u8>) -> Result<String, UriError> {
    String::from_utf8(value).map_err(|_| UriError::Value { name: name.to_owned() })
}

/// An absolute path after `prefix`: a relative module would be looked for in folders that nobody named.
fn absolute(name: &'static str, value: Vec<u8>, prefix: &'static str) -> Result<PathBuf, UriError> {
    let wrong = UriError::Path { name, prefix };
    let text = words(name, value)?;
    let path = text.strip_prefix(prefix).map(PathBuf::from);
    path.filter(|path| path.is_absolute()).ok_or(wrong)
}

/// A URI that names no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UriError {
    /// It does not begin with `pkcs11:`.
    #[error("the URI of a key in a token begins with `pkcs11:`")]
    Scheme,
    /// A part is no `name=value`.
    #[error(
        "a part of the `pkcs11:` URI is no `name=value`; `;` separates those before `?`, `&` those after it"
    )]
    Form,
    /// An attribute that is not known, or that stands in the other part.
    #[error(
        "`{name}` has no meaning there in a `pkcs11:` URI; before `?` there are token, serial, object and id, after \
         it module-path and pin-source"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A PIN in the URI.
    #[error(
        "`pin-value` is refused: a URI is no place for a PIN; name a file with `pin-source=file:/path`, or set \
         CHANCERY_PIN"
    )]
    PinValue,
    /// An attribute is there twice.
    #[error("`{name}` stands twice in the `pkcs11:` URI")]
    Twice {
        /// Its name.
        name: String,
    },
    /// A value is empty, not percent-encoded, or no UTF-8.
    #[error("the value of `{name}` in the `pkcs11:` URI is empty or not percent-encoded (a space is `%20`)")]
    Value {
        /// Its name.
        name: String,
    },
    /// An attribute is missing.
    #[error("the `pkcs11:` URI has no `{0}`")]
    Missing(&'static str),
    /// A path is not absolute.
    #[error("`{name}` has to be `{prefix}` and an absolute path, such as `{name}={prefix}/…`")]
    Path {
        /// The attribute.
        name: &'static str,
        /// What stands before the path.
        prefix: &'static str,
    },
}

impl UriError {
    fn unknown(name: &str) -> Self {
        match name {
            "pin-value" => Self::PinValue,
            _ => Self::Unknown { name: name.to_owned() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_says_which_key() {
        let text = "pkcs11:token=My%20token;serial=ab12;object=runtime%2Fkey;id=%01%FF\
                    ?module-path=/usr/lib/m.so&pin-source=file:/run/pin";
        let uri: KeyUri = text.parse().unwrap();
        assert_eq!(
            (uri.token(), uri.serial(), uri.object()),
            ("My token", Some("ab12"), Some("runtime/key"))
        );
        assert_eq!(uri.id(), Some(&[1, 255][..]));
        assert_eq!(
            (uri.module(), uri.pin_source()),
            (Path::new("/usr/lib/m.so"), Some(Path::new("/run/pin")))
        );
        assert_eq!(uri.to_string(), text);
        assert_eq!(uri.to_string().parse::<KeyUri>().unwrap(), uri);
        let least: KeyUri = "pkcs11:id=%01;token=t?module-path=/m".parse().unwrap();
        assert_eq!((least.object(), least.pin_source()), (None, None));
        assert!(
            is_uri(Path::new(text)) && !is_uri(Path::new("keys/pkcs11:x")) && !is_uri(Path::new("PKCS11:x"))
        );
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let value = |name: &str| UriError::Value { name: name.to_owned() };
        let unknown = |name: &str| UriError::Unknown { name: name.to_owned() };
        let cases = [
            ("keys/runtime.key", UriError::Scheme),
            ("pkcs11:", UriError::Missing("module-path")),
            ("pkcs11:?module-path=/m", UriError::Missing("object")),
            ("pkcs11:object=o?module-path=/m", UriError::Missing("token")),
            ("pkcs11:token=t?module-path=/m", UriError::Missing("object")),
            ("pkcs11:token=t;object=o", UriError::Missing("module-path")),
            ("pkcs11:token=t;object?module-path=/m", UriError::Form),
            ("pkcs11:token=t;object=o;?module-path=/m", UriError::Form),
            ("pkcs11:token=t;object=o;type=private?module-path=/m", unknown("type")),
            ("pkcs11:token=t;object=o;module-path=/m", unknown("module-path")),
            ("pkcs11:token=t;object=o?module-path=/m;pin-source=file:/p", value("module-path")),
            ("pkcs11:token=t;object=o?module-path=/m&module-name=softhsm", unknown("module-name")),
            ("pkcs11:token=t;object=o?module-path=/m&object=o", unknown("object")),
            ("pkcs11:token=t;object=o?module-path=/m&pin-value=1234", UriError::PinValue),
            ("pkcs11:token=t;object=o;pin-value=1234?module-path=/m", UriError::PinValue),
            ("pkcs11:token=t;token=t;object=o?module-path=/m", UriError::Twice { name: "token".to_owned() }),
            ("pkcs11:token=;object=o?module-path=/m", value("token")),
            ("pkcs11:token=a b;object=o?module-path=/m", value("token")),
            ("pkcs11:token=ä;object=o?module-path=/m", value("token")),
            ("pkcs11:token=%f;object=o?module-path=/m", value("token")),
            ("pkcs11:token=%+1;object=o?module-path=/m", value("token")),
            ("pkcs11:token=%FF;object=o?module-path=/m", value("token")),
            ("pkcs11:token=t;object=o?module-path=m.so", UriError::Path { name: "module-path", prefix: "" }),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<KeyUri>(), Err(error), "{text}");
        }
        for source in ["/run/pin", "file:pin", "%7Ccat%20pin", "http://h/pin"] {
            let text = format!("pkcs11:token=t;object=o?module-path=/m&pin-source={source}");
            let error = text.parse::<KeyUri>().unwrap_err();
            assert_eq!(error, UriError::Path { name: "pin-source", prefix: "file:" }, "{text}");
        }
    }

    #[test]
    fn no_error_tells_a_pin() {
        for text in ["pin-value=98765", "pin=98765", "pin-source=98765", "module-path=98765", "x=%98765"] {
            let error = format!("pkcs11:token=t;object=o?{text}").parse::<KeyUri>().unwrap_err();
            assert!(!error.to_string().contains("98765"), "{error}");
        }
    }
}
