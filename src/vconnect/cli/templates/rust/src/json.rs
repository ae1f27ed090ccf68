//! Just enough JSON to read events and write answers.

use std::fmt::Write;

/// Deeper values are rejected, so that no input can exhaust the stack.
const MAX_DEPTH: usize = 128;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// As written: a plugin that passes on a number must not round it.
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The member `key` of an object; the last one wins, as in most parsers.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().rev().find(|m| m.0 == key).map(|m| &m.1),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Write `text` as a JSON string, with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Read one JSON value; anything but white space after it is an error.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => reader.fail("the end"),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Always on a character boundary.
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!("bad JSON at byte {}: expected {expected}", self.at))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return self.fail("less depth");
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ];
        for (word, value) in words {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.fail("a value")
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut members = Vec::new();
        self.at += 1;
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.fail("a key");
            }
            let key = self.string()?;
            if !self.take(b':') {
                return self.fail("':'");
            }
            members.push((key, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Value::Object(members));
            }
            if !self.take(b',') {
                return self.fail("',' or '}'");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        self.at += 1;
        if self.take(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Value::Array(items));
            }
            if !self.take(b',') {
                return self.fail("',' or ']'");
            }
        }
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            self.fail("a digit")
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1; // no digit may follow a leading zero
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(Value::Number(self.text[start..self.at].to_string()))
    }

    fn string(&mut self) -> Result<String, String> {
        let mut out = String::new();
        self.at += 1;
        loop {
            // Copy everything up to the next special byte. All of those are ASCII, so the cut never
            // falls inside a character.
            let rest = &self.text[self.at..];
            let Some(plain) = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < b' ')
            else {
                return self.fail("the end of a string");
            };
            out.push_str(&rest[..plain]);
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                _ => return self.fail("no bare control character"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let Some(kind) = self.byte() else {
            return self.fail("an escape");
        };
        let plain = match kind {
            b'"' | b'\\' | b'/' => kind as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.fail("an escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// What follows `\u`: one UTF-16 unit, or the two of a character above U+FFFF.
    fn unicode(&mut self) -> Result<char, String> {
        let mut code = self.hex()?;
        if (0xD800..0xDC00).contains(&code) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let low = self.hex()?;
            if !(0xDC00..0xE000).contains(&low) {
                return self.fail("the second half of a character");
            }
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail("a whole character"),
        }
    }

    fn hex(&mut self) -> Result<u32, String> {
        match self.text.as_bytes().get(self.at..self.at + 4) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                let code = u32::from_str_radix(&self.text[self.at..self.at + 4], 16);
                self.at += 4;
                Ok(code.expect("four hexadecimal digits are a number"))
            }
            _ => self.fail("four hexadecimal digits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> String {
        parse(json).unwrap().as_str().unwrap().to_string()
    }

    #[test]
    fn strings() {
        assert_eq!(text(r#""plain""#), "plain");
        assert_eq!(text(r#""\"\\\/\b\f\n\r\t""#), "\"\\/\u{8}\u{c}\n\r\t");
        assert_eq!(text(r#""\u00e9\ud83d\ude00 é😀""#), "é😀 é😀");
        for bad in [
            r#"""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\u+123""#,
            r#""\ud83d""#,
            r#""\ud83dx""#,
            "\"\n\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers() {
        for good in [
            "0",
            "-1",
            "12.50",
            "1e9",
            "-0.1E-7",
            "123456789012345678901234567890",
        ] {
            assert_eq!(parse(good), Ok(Value::Number(good.to_string())));
        }
        for bad in ["01", "-", "1.", ".5", "+1", "1e", "NaN"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn containers() {
        let value = parse(r#" {"a": [1, true, null, {}], "b": {"c": "d"}, "a": []} "#).unwrap();
        assert_eq!(value.get("a"), Some(&Value::Array(vec![])));
        assert_eq!(
            value
                .get("b")
                .and_then(|b| b.get("c"))
                .and_then(Value::as_str),
            Some("d")
        );
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "[] []",
            "nul",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn quoting_is_the_inverse_of_reading() {
        let all = "\"\\\u{0}\u{1f}\n\t/é😀";
        assert_eq!(text(&quote(all)), all);
    }
}
