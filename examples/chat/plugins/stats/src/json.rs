//! Just enough JSON to find a string in an object, and to write one.
//!
//! What is not looked for is skipped, not kept.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// The string at this path of keys; `None` if there is none, or if it cannot be read.
///
/// ```text
/// text(r#"{"a": {"b": "c"}}"#, &["a", "b"]) == Some("c")
/// ```
pub fn text(json: &str, path: &[&str]) -> Option<String> {
    let mut reader = Reader(json.chars().peekable());
    for key in path {
        reader.enter(key)?;
    }
    reader.string()
}

/// Write `text` as a JSON string, with its quotes.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    /// Go to the value of this key of the object that begins here.
    fn enter(&mut self, wanted: &str) -> Option<()> {
        self.expect('{')?;
        loop {
            let key = self.string()?;
            self.expect(':')?;
            if key == wanted {
                return Some(());
            }
            self.skip_value()?;
            self.expect(',')?;
        }
    }

    /// Skip a value. Of an object or a list only the brackets count, and what is in strings does
    /// not.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            self.skip_space();
            match self.0.peek()? {
                '"' => {
                    self.string()?;
                }
                '{' | '[' => {
                    self.0.next();
                    depth += 1;
                }
                '}' | ']' if depth > 0 => {
                    self.0.next();
                    depth -= 1;
                }
                ',' | ':' if depth > 0 => {
                    self.0.next();
                    continue;
                }
                _ => self.skip_word()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Skip a number, `true`, `false` or `null`.
    fn skip_word(&mut self) -> Option<()> {
        let in_word = |c: &char| c.is_ascii_alphanumeric() || "+-.".contains(*c);
        self.0.next_if(in_word)?;
        while self.0.next_if(in_word).is_some() {}
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut out = String::new();
        loop {
            match self.0.next()? {
                '"' => return Some(out),
                '\\' => out.push(self.escaped()?),
                c => out.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        match self.0.next()? {
            'u' => self.unicode(),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            c => Some(c),
        }
    }

    /// Four hexadecimal digits, or twice four for what does not fit into them.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        (self.0.next()? == '\\' && self.0.next()? == 'u').then_some(())?;
        let second = self.hex()?.checked_sub(0xdc00)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| {
            Some(value * 16 + self.0.next()?.to_digit(16)?)
        })
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.skip_space();
        self.0.next_if_eq(&wanted).map(|_| ())
    }

    fn skip_space(&mut self) {
        while self.0.next_if(|c| c.is_ascii_whitespace()).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_behind_anything() {
        let json = r#"{"a": [1, {"b": "}"}, "]"], "c": -1.5e+3, "d": {}, "e": null, "f":
            {"x": true, "g": "h\"\u00e9\ud83d\ude00\n"}}"#;
        assert_eq!(text(json, &["f", "g"]).as_deref(), Some("h\"é😀\n"));
        assert_eq!(text(json, &["f", "b"]), None);
        assert_eq!(text(json, &["c"]), None);
    }

    #[test]
    fn what_is_broken_has_nothing() {
        for json in [
            "",
            "{",
            r#"{"a"#,
            r#"{"a":"#,
            r#"{"a":"b"#,
            r#"{"a":"\u12"#,
            r#"{"b":?"#,
        ] {
            assert_eq!(text(json, &["a"]), None);
        }
    }

    #[test]
    fn quotes_what_has_a_meaning() {
        assert_eq!(quote("a\"\\\n"), r#""a\"\\\u000a""#);
    }
}
