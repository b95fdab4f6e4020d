//! IP addresses and ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::ParseSignalError;

/// An address and a prefix length. The bits behind the prefix stay as they were given.
///
/// Text: always with the prefix length, IPv6 as RFC 5952 writes it but never in the mixed form with an IPv4
/// address: `10.0.0.0/8`, `192.0.2.1/32`, `::ffff:102:304/128`. Read, too: an address alone, which is itself only.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ip {
    address: IpAddr,
    prefix: u8,
}

impl Ip {
    /// `None` if `prefix` is longer than the address.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= bits(&address)).then_some(Self { address, prefix })
    }

    /// The address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the prefix in bits: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }
}

/// The length of an address.
fn bits(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Ip {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, ParseSignalError> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address = if address.contains(':') {
            // The mixed form is read by the standard library, but not by Cedar.
            let plain = (!address.contains('.')).then(|| address.parse::<Ipv6Addr>().ok());
            plain.flatten().map(IpAddr::V6)
        } else {
            address.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        };
        let address = address.ok_or(ParseSignalError::Form)?;
        let Some(prefix) = prefix else { return Ok(Self { address, prefix: bits(&address) }) };
        let digits_only = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        if !digits_only || (prefix.len() > 1 && prefix.starts_with('0')) {
            return Err(ParseSignalError::Form);
        }
        prefix.parse().ok().and_then(|prefix| Self::new(address, prefix)).ok_or(ParseSignalError::Range)
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => write!(f, "{address}")?,
            IpAddr::V6(address) => write_ipv6(address.segments(), f)?,
        }
        write!(f, "/{}", self.prefix)
    }
}

/// RFC 5952, section 4: lower case, no leading zeros, `::` for the first of the longest runs of zeros, if that has
/// at least two. Written here because the standard library uses the mixed form for some addresses.
fn write_ipv6(segments: [u16; 8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let zeros_from = |start: usize| segments.iter().skip(start).take_while(|segment| **segment == 0).count();
    let mut run = 0..0;
    for start in 0..segments.len() {
        let length = zeros_from(start);
        if length > run.len().max(1) {
            run = start..start + length;
        }
    }
    for (at, segment) in segments.iter().enumerate() {
        if run.contains(&at) {
            if at == run.start {
                f.write_str("::")?;
            }
            continue;
        }
        if at > 0 && at != run.end {
            f.write_str(":")?;
        }
        write!(f, "{segment:x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ipv6_is_written_as_rfc_5952_says() {
        for (text, canonical) in [
            ("2001:0db8::0001", "2001:db8::1/128"),
            ("2001:db8:0:0:0:0:2:1", "2001:db8::2:1/128"),
            ("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1/128"),
            ("2001:0:0:1:0:0:0:1", "2001:0:0:1::1/128"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1/128"),
            ("2001:DB8::ABCD/0", "2001:db8::abcd/0"),
            ("::ffff:0102:0304", "::ffff:102:304/128"),
            ("::102:304", "::102:304/128"),
            ("1::", "1::/128"),
            ("::", "::/128"),
            ("0:1:2:3:4:5:6:7", "0:1:2:3:4:5:6:7/128"),
            ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::/128"),
        ] {
            assert_eq!(text.parse::<Ip>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        use ParseSignalError::{Form, Range};
        for (text, error) in [
            ("", Form),
            ("/8", Form),
            ("10.0.0.1/+8", Form),
            ("10.0.0.1/8/8", Form),
            ("10.0.0.1/ 8", Form),
            ("10.0.0.1/00", Form),
            ("10.0.0.256", Form),
            ("10.0.0.1 ", Form),
            ("1.2.3.4.5", Form),
            ("0x0a.0.0.1", Form),
            (":::", Form),
            ("1::2::3", Form),
            ("::1.2.3.4", Form),
            ("[::1]", Form),
            ("::1%1", Form),
            ("12345::", Form),
            ("::/129", Range),
            ("10.0.0.1/999999999999", Range),
        ] {
            assert_eq!(text.parse::<Ip>(), Err(error), "{text}");
        }
        assert_eq!(Ip::new(Ipv4Addr::LOCALHOST.into(), 33), None);
    }

    proptest! {
        #[test]
        fn print_then_parse_is_identity(v4 in any::<u32>(), v6 in any::<[u16; 8]>(), zeros in any::<u8>(), prefix in 0u8..=128) {
            let mut v6 = v6;
            for (at, segment) in v6.iter_mut().enumerate() {
                if zeros >> at & 1 == 1 { *segment = 0; }
            }
            let v6 = Ip::new(Ipv6Addr::from(v6).into(), prefix).unwrap();
            prop_assert_eq!(v6.to_string().parse(), Ok(v6));
            let v4 = Ip::new(Ipv4Addr::from(v4).into(), prefix % 33).unwrap();
            prop_assert_eq!(v4.to_string().parse(), Ok(v4));
        }

        #[test]
        fn where_the_standard_library_does_not_mix_it_writes_the_same(segments in any::<[u16; 8]>(), zeros in 1u8..=255) {
            let mut segments = segments;
            for (at, segment) in segments.iter_mut().enumerate() {
                if zeros >> at & 1 == 1 { *segment = 0; }
            }
            let address = Ipv6Addr::from(segments);
            let standard = address.to_string();
            if !standard.contains('.') {
                prop_assert_eq!(Ip::new(address.into(), 128).unwrap().to_string(), format!("{standard}/128"));
            }
        }
    }
}
