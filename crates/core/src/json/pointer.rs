//! JSON pointers (RFC 6901), built on the way down and printed only where there is a fault.

use std::fmt;

/// A place in a JSON value. Each step borrows the one before it, so that going down costs nothing.
///
/// ```
/// use chancery_core::json::Pointer;
///
/// let signals = Pointer::root().member("signals");
/// let element = signals.member("a/b");
/// assert_eq!(element.index(3).to_string(), "/signals/a~1b/3");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pointer<'a> {
    step: Option<(&'a Pointer<'a>, Step<'a>)>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Member(&'a str),
    Index(usize),
}

const ROOT: &Pointer<'static> = &Pointer { step: None };

impl<'a> Pointer<'a> {
    /// The whole value.
    #[must_use]
    pub const fn root() -> &'static Pointer<'static> {
        ROOT
    }

    /// The member `name` of the object at this place.
    #[must_use]
    pub const fn member(&'a self, name: &'a str) -> Pointer<'a> {
        Pointer { step: Some((self, Step::Member(name))) }
    }

    /// The element `index` (from 0) of the array at this place.
    #[must_use]
    pub const fn index(&'a self, index: usize) -> Pointer<'a> {
        Pointer { step: Some((self, Step::Index(index))) }
    }
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            None => Ok(()),
            Some((parent, Step::Member(name))) => {
                parent.fmt(f)?;
                write_token(f, name)
            }
            Some((parent, Step::Index(index))) => {
                parent.fmt(f)?;
                write!(f, "/{index}")
            }
        }
    }
}

/// Writes `/name` with `~` and `/` escaped (RFC 6901, section 3).
pub(super) fn write_token(out: &mut impl fmt::Write, name: &str) -> fmt::Result {
    out.write_char('/')?;
    for c in name.chars() {
        match c {
            '~' => out.write_str("~0")?,
            '/' => out.write_str("~1")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_escaped_once() {
        // The examples of RFC 6901, section 5.
        let root = Pointer::root();
        for (name, text) in [("", "/"), ("a/b", "/a~1b"), ("m~n", "/m~0n"), ("~1", "/~01"), ("k\"l", "/k\"l")]
        {
            assert_eq!(root.member(name).to_string(), text);
        }
        assert_eq!(root.to_string(), "");
        assert_eq!(root.member("foo").index(0).to_string(), "/foo/0");
    }
}
