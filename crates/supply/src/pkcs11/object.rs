//! Key objects in a token: found, read, made.
//!
//! ```text
//! CKA_EC_PARAMS  06 08 2a 86 48 ce 3d 03 01 07        P-256, the curve's OID
//!                06 03 2b 65 70                       Ed25519, its OID (RFC 8410)
//!                13 0c "edwards25519"                 Ed25519, its name (PKCS #11 v3.0 §2.3.5)
//! CKA_EC_POINT   04 41 04 x y   04 20 point           DER OCTET STRING around the point
//!                04 x y         point                 the bare point, as some tokens have it
//! C_Sign         r s, 32 bytes each                   ECDSA, over the SHA-256 of the message
//!                64 bytes                             Ed25519, over the message
//! ```

use chancery_core::digest::sha256;
use chancery_core::key::{Algorithm, PublicKey};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::Pkcs11Error;
use super::uri::KeyUri;

const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// SubjectPublicKeyInfo of an uncompressed P-256 point, up to the point (RFC 5480).
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The one private key that the URI names.
pub(super) fn private_key(session: &Session, uri: &KeyUri) -> Result<ObjectHandle, Pkcs11Error> {
    let (token, key) = (uri.token().to_owned(), described(uri));
    let mut template = named(uri);
    template.push(Attribute::Class(ObjectClass::PRIVATE_KEY));
    let found = match session.find_objects(&template)?.as_slice() {
        [] => return Err(Pkcs11Error::NoKey { token, key }),
        [one] => *one,
        _ => return Err(Pkcs11Error::SeveralKeys { token, key }),
    };
    let usage = session.get_attributes(found, &[AttributeType::Sign, AttributeType::AlwaysAuthenticate])?;
    signs_unattended(&usage, uri)?;
    Ok(found)
}

/// Whether a key with these attributes signs without asking for its PIN again. What a token does not tell, a signature
/// will.
fn signs_unattended(usage: &[Attribute], uri: &KeyUri) -> Result<(), Pkcs11Error> {
    let (token, key) = (uri.token().to_owned(), described(uri));
    if usage.contains(&Attribute::Sign(false)) {
        return Err(Pkcs11Error::NotForSigning { token, key });
    }
    if usage.contains(&Attribute::AlwaysAuthenticate(true)) {
        return Err(Pkcs11Error::AlwaysAuthenticate { token, key });
    }
    Ok(())
}

/// The public half of a private key: the object with its id, or where ids are missing or shared, with its label.
///
/// Whether it really is its half is for a signature to show.
pub(super) fn public_key(
    session: &Session,
    private: ObjectHandle,
    uri: &KeyUri,
) -> Result<PublicKey, Pkcs11Error> {
    let (mut id, mut label) = (None, None);
    for attribute in session.get_attributes(private, &[AttributeType::Id, AttributeType::Label])? {
        match attribute {
            Attribute::Id(bytes) if !bytes.is_empty() => id = Some(Attribute::Id(bytes)),
            Attribute::Label(bytes) if !bytes.is_empty() => label = Some(Attribute::Label(bytes)),
            _ => {}
        }
    }
    let ways = [vec![id.clone()], vec![id, label.clone()], vec![label]];
    for way in ways {
        let Some(mut template) = way.into_iter().collect::<Option<Vec<_>>>() else { continue };
        template.push(Attribute::Class(ObjectClass::PUBLIC_KEY));
        if let [one] = session.find_objects(&template)?.as_slice() {
            return read_public(session, *one);
        }
    }
    Err(Pkcs11Error::NoPublicKey { token: uri.token().to_owned(), key: described(uri) })
}

fn read_public(session: &Session, object: ObjectHandle) -> Result<PublicKey, Pkcs11Error> {
    let (mut parameters, mut point) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(object, &[AttributeType::EcParams, AttributeType::EcPoint])? {
        match attribute {
            Attribute::EcParams(bytes) => parameters = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    parse_public(&parameters, &point)
}

fn parse_public(parameters: &[u8], point: &[u8]) -> Result<PublicKey, Pkcs11Error> {
    let unknown = Pkcs11Error::Point { bytes: point.len() };
    if parameters == P256_OID {
        let point = if point.len() == 67 { point.strip_prefix(&[0x04, 0x41]) } else { Some(point) };
        let point = point.filter(|point| point.len() == 65).ok_or(unknown)?;
        return Ok(PublicKey::from_spki_der(&[P256_SPKI, point].concat())?);
    }
    if parameters == ED25519_OID || parameters == ED25519_NAME {
        let point = if point.len() == 34 { point.strip_prefix(&[0x04, 0x20]) } else { Some(point) };
        let point = point.and_then(|point| <&[u8; 32]>::try_from(point).ok()).ok_or(unknown)?;
        return Ok(PublicKey::from_ed25519(point)?);
    }
    let parameters = parameters.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(Pkcs11Error::Curve { parameters })
}

/// Signs, and gives the signature the encoding that [`PublicKey::verify`] takes. It is not verified here.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    algorithm: Algorithm,
    message: &[u8],
) -> Result<Vec<u8>, Pkcs11Error> {
    match algorithm {
        Algorithm::Ed25519 => {
            let pure = EddsaParams::new(EddsaSignatureScheme::Pure);
            Ok(session.sign(&Mechanism::Eddsa(pure), key, message)?)
        }
        Algorithm::EcdsaP256 => to_der(&session.sign(&Mechanism::Ecdsa, key, &sha256(message))?),
    }
}

/// `r s` as DER, with the lower of the two values that s may have: what other signers of P-256 write.
fn to_der(raw: &[u8]) -> Result<Vec<u8>, Pkcs11Error> {
    let signature = p256::ecdsa::Signature::from_slice(raw).map_err(|_| Pkcs11Error::WrongAnswer)?;
    Ok(signature.normalize_s().to_der().as_bytes().to_vec())
}

/// Makes a key pair that stays in the token, with the label of the URI and `id`.
pub(super) fn generate(
    session: &Session,
    uri: &KeyUri,
    id: &[u8],
    algorithm: Algorithm,
) -> Result<Pair, Pkcs11Error> {
    let label = uri.object().ok_or(Pkcs11Error::NoLabel)?.as_bytes().to_vec();
    for name in [Attribute::Label(label.clone()), Attribute::Id(id.to_vec())] {
        // Of whatever class: a certificate or a secret key with the same name makes the key as hard to tell.
        if !session.find_objects(&[name])?.is_empty() {
            return Err(Pkcs11Error::Exists { token: uri.token().to_owned(), key: described(uri) });
        }
    }
    let (mechanism, parameters) = match algorithm {
        Algorithm::Ed25519 => (Mechanism::EccEdwardsKeyPairGen, ED25519_OID),
        Algorithm::EcdsaP256 => (Mechanism::EccKeyPairGen, P256_OID),
    };
    let common = [Attribute::Token(true), Attribute::Label(label), Attribute::Id(id.to_vec())];
    let mut public = common.to_vec();
    public.extend([
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcParams(parameters.to_vec()),
    ]);
    let mut private = common.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        // Tokens differ in what a key may do that nobody asked for.
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]);
    let (public, private) = session.generate_key_pair(&mechanism, &public, &private)?;
    let pair = Pair { public, private };
    let asked = [AttributeType::Sensitive, AttributeType::Extractable];
    match session.get_attributes(private, &asked) {
        Ok(attributes)
            if attributes.contains(&Attribute::Sensitive(true))
                && attributes.contains(&Attribute::Extractable(false)) =>
        {
            Ok(pair)
        }
        Ok(_) => {
            pair.destroy(session);
            Err(Pkcs11Error::Extractable)
        }
        Err(error) => {
            pair.destroy(session);
            Err(error.into())
        }
    }
}

/// A key pair that was just made.
pub(super) struct Pair {
    public: ObjectHandle,
    private: ObjectHandle,
}

impl Pair {
    /// Takes it away again. What does not go stays, with a name that then exists.
    pub(super) fn destroy(&self, session: &Session) {
        let _ = session.destroy_object(self.private);
        let _ = session.destroy_object(self.public);
    }
}

fn named(uri: &KeyUri) -> Vec<Attribute> {
    let label = uri.object().map(|label| Attribute::Label(label.as_bytes().to_vec()));
    let id = uri.id().map(|id| Attribute::Id(id.to_vec()));
    label.into_iter().chain(id).collect()
}

/// Label and id, for messages.
pub(super) fn described(uri: &KeyUri) -> String {
    let id = uri.id().map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    match (uri.object(), id) {
        (Some(label), Some(id)) => format!("`{label}` with the id {id}"),
        (Some(label), None) => format!("`{label}`"),
        (None, id) => format!("with the id {}", id.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use chancery_core::key::{Signer as _, SigningKey};

    use super::*;

    #[test]
    fn points_are_read_bare_and_wrapped() {
        let ed25519 = SigningKey::generate_ed25519([7; 32]).public_key().clone();
        let bare = ed25519.as_ed25519().unwrap().to_vec();
        let wrapped = [&[0x04, 0x20][..], &bare].concat();
        for (parameters, point) in [(ED25519_OID, &bare), (ED25519_NAME, &wrapped), (ED25519_OID, &wrapped)] {
            assert_eq!(parse_public(parameters, point).unwrap(), ed25519);
        }
        let p256 = SigningKey::generate_p256([7; 32]).unwrap().public_key().clone();
        let bare = p256.spki_der()[26..].to_vec();
        let wrapped = [&[0x04, 0x41][..], &bare].concat();
        for point in [&bare, &wrapped] {
            assert_eq!(parse_public(P256_OID, point).unwrap(), p256);
        }
    }

    #[test]
    fn other_points_and_curves_are_refused() {
        let point = |bytes| move |error: &Pkcs11Error| matches!(error, Pkcs11Error::Point { bytes: b } if *b == bytes);
        for (parameters, bytes) in [
            (ED25519_OID, vec![1; 31]),
            (ED25519_OID, vec![1; 34]),
            (ED25519_OID, vec![]),
            (P256_OID, vec![4; 64]),
            (P256_OID, vec![5; 67]),
            // The compressed form of a point.
            (P256_OID, vec![2; 33]),
        ] {
            let error = parse_public(parameters, &bytes).unwrap_err();
            assert!(point(bytes.len())(&error), "{error:?}");
        }
        // Points that are on no curve, or weak.
        for (parameters, bytes) in [(P256_OID, vec![4; 65]), (ED25519_OID, vec![0; 32])] {
            assert!(matches!(parse_public(parameters, &bytes), Err(Pkcs11Error::PublicKey(_))));
        }
        let p384 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        let error = parse_public(&p384, &[4; 97]).unwrap_err();
        assert!(error.to_string().contains("06052b81040022"), "{error}");
        assert!(matches!(parse_public(&[], &[]), Err(Pkcs11Error::Curve { .. })));
    }

    #[test]
    fn keys_that_do_not_sign_unattended_are_refused() {
        let uri: KeyUri = "pkcs11:token=t;object=o?module-path=/m".parse().unwrap();
        let judge = |usage: &[Attribute]| signs_unattended(usage, &uri);
        judge(&[]).unwrap();
        judge(&[Attribute::Sign(true), Attribute::AlwaysAuthenticate(false)]).unwrap();
        assert!(matches!(judge(&[Attribute::Sign(false)]), Err(Pkcs11Error::NotForSigning { .. })));
        let asks = [Attribute::Sign(true), Attribute::AlwaysAuthenticate(true)];
        assert!(matches!(judge(&asks), Err(Pkcs11Error::AlwaysAuthenticate { .. })));
    }

    #[test]
    fn raw_signatures_become_der_with_a_low_s() {
        let key = SigningKey::generate_p256([7; 32]).unwrap();
        let der = key.sign(b"message").unwrap();
        let signature = p256::ecdsa::Signature::from_der(&der).unwrap();
        let low = signature.normalize_s();
        let (r, s) = low.split_scalars();
        let high = p256::ecdsa::Signature::from_scalars(*r, -*s).unwrap();
        for raw in [low.to_bytes(), high.to_bytes()] {
            let der = to_der(&raw).unwrap();
            assert_eq!(der, low.to_der().as_bytes());
            key.public_key().verify(b"message", &der).unwrap();
        }
        for raw in [&[0; 64][..], &[255; 64], &[1; 63], &[1; 65], b""] {
            assert!(matches!(to_der(raw), Err(Pkcs11Error::WrongAnswer)));
        }
    }
}
