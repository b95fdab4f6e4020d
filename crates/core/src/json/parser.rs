//! The strict parser: by recursive descent, as deep as the limit and no deeper.

use super::pointer::write_token;
use super::{Code, Fault, Limits, Number, Object, Value, number, plain};

/// No limit lets the parser go deeper, so that it cannot run out of stack.
const DEPTH_MAX: usize = 128;

/// Reads one JSON value from `bytes`.
///
/// # Errors
/// The first [`Fault`]: `json.size` before anything else is looked at, then `json.syntax`, `json.depth`,
/// `json.duplicate` or `json.number`.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Value, Fault> {
    if bytes.len() > limits.bytes {
        return Err(Fault {
            pointer: None,
            code: Code::JsonSize,
            expected: format!("at most {} bytes", limits.bytes),
            found: format!("{} bytes", bytes.len()),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Fault {
        pointer: None,
        code: Code::JsonSyntax,
        expected: "JSON in UTF-8".to_owned(),
        found: format!("no UTF-8 at byte {}", error.valid_up_to()),
    })?;
    let mut parser = Parser { text, at: 0, depth_max: limits.depth.min(DEPTH_MAX) };
    parser.document().map_err(|failure| failure.fault())
}

/// Why reading stopped. The steps of the pointer are added on the way out, so that reading needs no path.
struct Failure {
    code: Code,
    expected: String,
    found: String,
    /// From the innermost outwards.
    steps: Vec<Step>,
}

enum Step {
    Member(String),
    Index(usize),
}

impl Failure {
    fn inside(mut self: Box<Self>, step: Step) -> Box<Self> {
        self.steps.push(step);
        self
    }

    fn fault(self) -> Fault {
        let mut pointer = String::new();
        for step in self.steps.iter().rev() {
            // Writing into a string cannot fail.
            let _ = match step {
                Step::Member(name) => write_token(&mut pointer, name),
                Step::Index(index) => write_token(&mut pointer, &index.to_string()),
            };
        }
        let pointer = (self.code != Code::JsonSyntax).then_some(pointer);
        Fault { pointer, code: self.code, expected: self.expected, found: self.found }
    }
}

type Parsed<T> = Result<T, Box<Failure>>;

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth_max: usize,
}

impl<'t> Parser<'t> {
    fn document(&mut self) -> Parsed<Value> {
        let value = self.value(0)?;
        self.skip_space();
        match self.peek() {
            None => Ok(value),
            Some(_) => Err(self.syntax("nothing after the value")),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'t [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn slice(&self, from: usize) -> &'t str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes `byte` if it comes next.
    fn accept(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    fn syntax(&self, expected: &str) -> Box<Failure> {
        let what = match self.peek() {
            None => "the end of the text",
            Some(_) if self.at == 0 && self.text.starts_with('\u{feff}') => "a byte order mark",
            Some(0..=0x1f | 0x7f) => "a control character",
            Some(0x80..) => "a character beyond ASCII",
            Some(byte) if byte.is_ascii_alphabetic() => "a letter",
            Some(byte) if byte.is_ascii_digit() => "a digit",
            Some(_) => "another character",
        };
        Box::new(Failure {
            code: Code::JsonSyntax,
            expected: expected.to_owned(),
            found: format!("{what} at byte {}", self.at),
            steps: Vec::new(),
        })
    }

    /// A value inside of `depth` containers.
    fn value(&mut self, depth: usize) -> Parsed<Value> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth + 1).map(Value::Object),
            Some(b'[') => self.array(depth + 1).map(Value::Array),
            Some(b'"') => {
                self.at += 1;
                self.string().map(Value::String)
            }
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Null),
            _ => Err(self.syntax("a value")),
        }
    }

    fn literal(&mut self, text: &str, value: Value) -> Parsed<Value> {
        if !self.rest().starts_with(text.as_bytes()) {
            return Err(self.syntax("`true`, `false`, `null` or another value"));
        }
        self.at += text.len();
        Ok(value)
    }

    fn number(&mut self) -> Parsed<Number> {
        let start = self.at;
        let length = number::scan(self.rest()).ok_or_else(|| self.syntax("a number as JSON writes it"))?;
        self.at += length;
        Number::new(self.slice(start)).ok_or_else(|| {
            Box::new(Failure {
                code: Code::JsonNumber,
                expected: "a number within ±9007199254740991; write a larger one as a string".to_owned(),
                found: format!("a larger one, written with {length} characters"),
                steps: Vec::new(),
            })
        })
    }

    fn check_depth(&self, depth: usize) -> Parsed<()> {
        if depth <= self.depth_max {
            return Ok(());
        }
        Err(Box::new(Failure {
            code: Code::JsonDepth,
            expected: format!("at most {} arrays and objects inside of each other", self.depth_max),
            found: "one more".to_owned(),
            steps: Vec::new(),
        }))
    }

    fn array(&mut self, depth: usize) -> Parsed<Vec<Value>> {
        self.check_depth(depth)?;
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.accept(b']') {
            return Ok(elements);
        }
        loop {
            let element = self.value(depth).map_err(|failure| failure.inside(Step::Index(elements.len())))?;
            elements.push(element);
            self.skip_space();
            if self.accept(b']') {
                return Ok(elements);
            }
            if !self.accept(b',') {
                return Err(self.syntax("`,` or `]`"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Object> {
        self.check_depth(depth)?;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if !self.accept(b'}') {
            loop {
                members.push(self.member(depth)?);
                self.skip_space();
                if self.accept(b'}') {
                    break;
                }
                if !self.accept(b',') {
                    return Err(self.syntax("`,` or `}`"));
                }
            }
        }
        Object::new(members).map_err(|name| {
            Box::new(Failure {
                code: Code::JsonDuplicate,
                expected: "each member name once".to_owned(),
                found: "a second member of that name".to_owned(),
                steps: vec![Step::Member(name)],
            })
        })
    }

    fn member(&mut self, depth: usize) -> Parsed<(String, Value)> {
        self.skip_space();
        if !self.accept(b'"') {
            return Err(self.syntax("a member name in double quotes"));
        }
        let name = self.string()?;
        self.skip_space();
        if !self.accept(b':') {
            return Err(self.syntax("`:`"));
        }
        match self.value(depth) {
            Ok(value) => Ok((name, value)),
            Err(failure) => Err(failure.inside(Step::Member(name))),
        }
    }

    /// The rest of a string, its opening quote having been read.
    fn string(&mut self) -> Parsed<String> {
        let mut string = self.plain().to_owned();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => {
                    self.at += 1;
                    string.push(self.escape()?);
                    string.push_str(self.plain());
                }
                _ => return Err(self.syntax("the closing quote of a string, control characters escaped")),
            }
        }
    }

    /// What comes before the next quote or escape.
    fn plain(&mut self) -> &'t str {
        let start = self.at;
        self.at += plain(self.rest());
        self.slice(start)
    }

    /// The rest of an escape, its backslash having been read.
    fn escape(&mut self) -> Parsed<char> {
        let c = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.syntax("one of `\"\\/bfnrtu` after a backslash")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode_escape(&mut self) -> Parsed<char> {
        let unit = self.code_unit()?;
        if let Some(c) = char::from_u32(unit) {
            return Ok(c);
        }
        // A surrogate. The first of a pair must be a high one, and the second follows at once.
        let pair_expected = "a pair of surrogates";
        if unit >= 0xdc00 || !(self.accept(b'\\') && self.accept(b'u')) {
            return Err(self.syntax(pair_expected));
        }
        match self.code_unit()? {
            low @ 0xdc00..=0xdfff => char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                .ok_or_else(|| self.syntax(pair_expected)),
            _ => Err(self.syntax(pair_expected)),
        }
    }

    /// Four hexadecimal digits.
    fn code_unit(&mut self) -> Parsed<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.syntax("four hexadecimal digits"))?;
            self.at += 1;
        }
        Ok(unit)
    }
}
