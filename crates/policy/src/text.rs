//! How deep a Cedar text nests, counted before Cedar's parser sees it.
//!
//! ```text
//! a && b.c && (d + 1 == e)         depth = chained operators of each precedence + brackets, on the deepest way
//! └ 2 × && ┘   └ 1 bracket, 1 ==, 1 + ┘
//! ```
//!
//! A lexer with Cedar's own tokens (white space, `//` comments, strings with `\` escapes), not a parser: it takes
//! any text, never recurses, and errs on the side of counting too much. What it counts bounds the depth of Cedar's
//! concrete and abstract syntax trees, and with that the recursion of everything that walks them.

use crate::fault::Cause;
use crate::limits::{DEPTH_MAX, NESTING_MAX};

/// Which of Cedar's two languages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    Policies,
    Schema,
}

/// Precedences, from the loosest: `||`, `&&`, relations, sums, products, members and unary operators.
const LEVELS: usize = 6;
const OR: usize = 0;
const AND: usize = 1;
const RELATION: usize = 2;
const SUM: usize = 3;
const PRODUCT: usize = 4;
const MEMBER: usize = 5;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token {
    Open(u8),
    Close(u8),
    Operator(usize),
    If,
    /// `then`, `else`, and the `:` of a record: a new expression begins, no deeper than the one before.
    Branch,
    Comma,
    Semicolon,
    /// Words, numbers, strings, `@`.
    Other,
}

struct Lexer<'t> {
    bytes: &'t [u8],
    at: usize,
    language: Language,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn word(&mut self, start: usize) -> Token {
        self.skip_while(|b| b.is_ascii_alphanumeric() || b == b'_');
        match self.bytes.get(start..self.at).unwrap_or_default() {
            b"if" => Token::If,
            b"then" | b"else" => Token::Branch,
            b"in" | b"has" | b"like" | b"is" => Token::Operator(RELATION),
            _ => Token::Other,
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = (usize, Token);

    fn next(&mut self) -> Option<(usize, Token)> {
        loop {
            let byte = self.peek(0)?;
            let two = (byte, self.peek(1));
            let start = self.at;
            if two == (b'/', Some(b'/')) {
                self.skip_while(|b| b != b'\n' && b != b'\r');
                continue;
            }
            if byte == b'"' {
                self.string();
                return Some((start, Token::Other));
            }
            if byte.is_ascii_alphabetic() || byte == b'_' {
                return Some((start, self.word(start)));
            }
            let schema = self.language == Language::Schema;
            let (length, token) = match two {
                (b'|', Some(b'|')) => (2, Token::Operator(OR)),
                (b'&', Some(b'&')) => (2, Token::Operator(AND)),
                (b':', Some(b':')) => (2, Token::Operator(MEMBER)),
                (b'<', _) if schema => (1, Token::Open(b'<')),
                (b'>', _) if schema => (1, Token::Close(b'>')),
                (b'=' | b'!' | b'<' | b'>', Some(b'=')) => (2, Token::Operator(RELATION)),
                (b'=' | b'<' | b'>', _) => (1, Token::Operator(RELATION)),
                (b'!' | b'.', _) => (1, Token::Operator(MEMBER)),
                (b'+' | b'-', _) => (1, Token::Operator(SUM)),
                (b'*' | b'/' | b'%', _) => (1, Token::Operator(PRODUCT)),
                (b'(' | b'[' | b'{', _) => (1, Token::Open(byte)),
                (b')' | b']' | b'}', _) => (1, Token::Close(byte)),
                (b':', _) => (1, Token::Branch),
                (b',', _) => (1, Token::Comma),
                (b';', _) => (1, Token::Semicolon),
                (b'@', _) => (1, Token::Other),
                // Numbers, white space, and what Cedar's lexer refuses.
                _ => {
                    self.at += 1;
                    continue;
                }
            };
            self.at += length;
            return Some((start, token));
        }
    }
}

/// One precedence of an open expression: its operators so far, and its deepest operand so far.
#[derive(Clone, Copy, Default)]
struct Group {
    operators: usize,
    deepest: usize,
}

/// What stands between two brackets, up to here.
struct Frame {
    opener: u8,
    groups: [Group; LEVELS],
    /// The deepest of the expressions of an `if … then … else …` or a record's member, up to here.
    branch: usize,
    ifs: usize,
    /// The deepest of the elements before the last comma.
    best: usize,
}

impl Frame {
    fn new(opener: u8) -> Self {
        Self { opener, groups: [Group::default(); LEVELS], branch: 0, ifs: 0, best: 0 }
    }

    /// Ends the groups that bind more tightly than `level`: they are an operand of it.
    fn fold(&mut self, level: usize) {
        let mut operand = 0;
        for group in self.groups.iter_mut().skip(level + 1).rev() {
            operand = group.operators + group.deepest.max(operand);
            *group = Group::default();
        }
        if let Some(group) = self.groups.get_mut(level) {
            group.deepest = group.deepest.max(operand);
        }
    }

    fn operator(&mut self, level: usize) {
        self.fold(level);
        if let Some(group) = self.groups.get_mut(level) {
            group.operators += 1;
        }
    }

    fn operand(&mut self, depth: usize) {
        if let Some(group) = self.groups.last_mut() {
            group.operators += 1;
            group.deepest = group.deepest.max(depth);
        }
    }

    fn end_branch(&mut self) {
        self.fold(OR);
        if let Some(group) = self.groups.first_mut() {
            self.branch = self.branch.max(group.operators + group.deepest);
            *group = Group::default();
        }
    }

    /// Ends an element and returns the depth of the deepest so far.
    fn end_element(&mut self) -> usize {
        self.end_branch();
        self.best = self.best.max(self.ifs + self.branch);
        self.ifs = 0;
        self.branch = 0;
        self.best
    }
}

/// Checks brackets and depth; returns where the statements (each ended by `;` outside brackets) begin.
///
/// # Errors
/// The first fault with its byte offset: [`Cause::Nesting`], [`Cause::Depth`] or [`Cause::Bracket`].
pub(crate) fn check(text: &str, language: Language) -> Result<Vec<usize>, (usize, Cause)> {
    let lexer = Lexer { bytes: text.as_bytes(), at: 0, language };
    let mut starts = Vec::new();
    let mut fresh = true;
    let mut outer: Vec<Frame> = Vec::new();
    let mut frame = Frame::new(b';');
    let mut end = 0;
    for (at, token) in lexer {
        end = at;
        if std::mem::take(&mut fresh) {
            starts.push(at);
        }
        match token {
            Token::Open(bracket) => {
                if outer.len() == NESTING_MAX {
                    return Err((at, Cause::Nesting { max: NESTING_MAX }));
                }
                outer.push(std::mem::replace(&mut frame, Frame::new(bracket)));
            }
            Token::Close(bracket) => {
                let opener = frame.opener;
                let fits =
                    matches!((opener, bracket), (b'(', b')') | (b'[', b']') | (b'{', b'}') | (b'<', b'>'));
                let parent = if fits { outer.pop() } else { None };
                let Some(parent) = parent else {
                    return Err((at, Cause::Bracket { found: char::from(bracket) }));
                };
                let depth = frame.end_element();
                frame = parent;
                frame.operand(depth);
            }
            Token::Operator(level) => frame.operator(level),
            Token::If => {
                frame.end_branch();
                frame.ifs += 1;
            }
            Token::Branch => frame.end_branch(),
            Token::Comma => {
                limit(frame.end_element(), at, language)?;
            }
            Token::Semicolon => {
                limit(frame.end_element(), at, language)?;
                if outer.is_empty() {
                    frame = Frame::new(b';');
                    fresh = true;
                }
            }
            Token::Other => {}
        }
    }
    // The end of the text: what is still open counts, too.
    let mut depth = frame.end_element();
    while let Some(mut parent) = outer.pop() {
        parent.operand(depth);
        depth = parent.end_element();
    }
    limit(depth, end, language)?;
    Ok(starts)
}

fn limit(got: usize, at: usize, language: Language) -> Result<(), (usize, Cause)> {
    if got > DEPTH_MAX && language == Language::Policies {
        return Err((at, Cause::Depth { max: DEPTH_MAX, got }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies(text: &str) -> Result<Vec<usize>, (usize, Cause)> {
        check(text, Language::Policies)
    }

    fn when(expression: &str) -> String {
        format!("permit(principal, action, resource) when {{ {expression} }};")
    }

    #[test]
    fn statements_begin_after_semicolons_outside_brackets_strings_and_comments() {
        let text = " // a; b\n@id(\"x;(\")permit(a;b);\n\t/**/ forbid(\"\\\";\") ;// end;";
        let starts = policies(text).unwrap();
        let heads: Vec<_> = starts.iter().map(|&at| &text[at..at + 3]).collect();
        assert_eq!(heads, ["@id", "/**"]);
        assert!(policies("").unwrap().is_empty());
    }

    #[test]
    fn nesting_is_counted_for_every_bracket_but_not_in_strings_and_comments() {
        for (open, close) in [("(", ")"), ("[", "]"), ("{a:", "}"), ("f(", ")"), ("[(", ")]")] {
            let each = open.matches(['(', '[', '{']).count();
            // One level is that of `when`.
            let deep = |n: usize| when(&format!("{}1{}", open.repeat(n), close.repeat(n)));
            let most = (NESTING_MAX - 1) / each;
            assert!(policies(&deep(most)).is_ok(), "{open}");
            let (_, cause) = policies(&deep(most + 1)).unwrap_err();
            assert_eq!(cause, Cause::Nesting { max: NESTING_MAX }, "{open}");
        }
        assert!(policies(&when(&format!("\"{}\"", "(".repeat(100)))).is_ok());
        assert!(policies(&format!("// {}\n", "(".repeat(100))).is_ok());
        assert!(policies(&format!("// x\r{}", "(".repeat(100))).is_err());
        assert!(policies(&format!("\"\\\"\" {}", "(".repeat(100))).is_err());
        let set = |n: usize| format!("type T = {}Long{};", "Set<".repeat(n), ">".repeat(n));
        assert!(check(&set(NESTING_MAX), Language::Schema).is_ok());
        assert!(check(&set(NESTING_MAX + 1), Language::Schema).is_err());
    }

    #[test]
    fn chains_of_every_operator_are_counted() {
        for (chain, end) in [
            ("a || ", "a"),
            ("a && ", "a"),
            ("a + ", "a"),
            ("a - ", "a"),
            ("- ", "a"),
            ("a * ", "a"),
            ("! ", "a"),
            ("a.", "a"),
            ("a::", "a"),
            ("a == ", "a"),
            ("if a then b else ", "c"),
            ("if ", "a"),
        ] {
            let deep = |n: usize| when(&format!("{}{end}", chain.repeat(n)));
            assert!(policies(&deep(DEPTH_MAX - 20)).is_ok(), "{chain}");
            assert!(matches!(policies(&deep(DEPTH_MAX + 1)), Err((_, Cause::Depth { .. }))), "{chain}");
        }
        let calls = |n: usize| when(&format!("a{}", ".f(1)".repeat(n)));
        assert!(policies(&calls(60)).is_ok());
        assert!(policies(&calls(DEPTH_MAX)).is_err());
        let conditions = |n: usize| format!("permit(principal, action, resource){};", " when {a}".repeat(n));
        assert!(policies(&conditions(60)).is_ok());
        assert!(policies(&conditions(DEPTH_MAX + 1)).is_err());
    }

    #[test]
    fn breadth_is_not_depth() {
        let list = format!("[{}1].contains(a)", "1, ".repeat(10_000));
        assert!(policies(&when(&list)).is_ok());
        // Forty conditions with all that belongs to them.
        let conjuncts = vec!["context.a.b + 1 * 2 == context.c.lessThan(decimal(\"1.0\"))"; 40].join(" && ");
        assert!(policies(&when(&conjuncts)).is_ok());
        let many = when("a && b").repeat(5_000);
        assert_eq!(policies(&many).unwrap().len(), 5_000);
    }

    #[test]
    fn closing_brackets_have_to_fit() {
        for (text, found) in [(")", ')'), ("(]", ']'), ("[}", '}'), ("{(})", '}'), (">", '>')] {
            let language = if text == ">" { Language::Schema } else { Language::Policies };
            let (_, cause) = check(text, language).unwrap_err();
            assert_eq!(cause, Cause::Bracket { found }, "{text}");
        }
        // Left to Cedar, which says what it expects.
        assert!(policies("permit(").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = check(&text, Language::Policies);
            let _ = check(&text, Language::Schema);
        }

        #[test]
        fn tokens_in_any_order_do_not_panic(tokens in proptest::collection::vec(
            proptest::sample::select(vec!["(", ")", "[", "]", "{", "}", "\"", "\\", "//", "\n", ";", ",", "if", "then",
                "&&", "||", ".", "::", ":", "<", ">", "=", "!", "a", "é"]), 0..200)) {
            let text: String = tokens.concat();
            let _ = check(&text, Language::Policies);
            let _ = check(&text, Language::Schema);
        }
    }
}
