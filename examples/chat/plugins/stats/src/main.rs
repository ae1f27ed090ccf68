//! The statistics of the chat: counts what happens, and tells whoever asks with `stats.get`.
//!
//! It speaks the classic dialect: every event gets one answer, in order. What somebody said most
//! is known by name only, and only until this process ends.

mod json;

use std::collections::HashMap;
use std::env;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

const HANDSHAKE: &str = r#"{"type":"handshake","plugin_no":"wk.plugin.stats","version":"1.0.0","priority":0,"capabilities":["message.incoming","user.online","user.offline"]}"#;
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Names come from strangers: of more than these, no more are counted one by one.
const MAX_NAMES: usize = 1000;

fn main() -> ExitCode {
    match socket_path().and_then(UnixStream::connect).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ERROR stats: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Find the path behind `--socket`; there may also be `--debug` and `--log-level LEVEL`.
fn socket_path() -> io::Result<String> {
    let mut arguments = env::args().skip_while(|argument| argument != "--socket");
    arguments
        .nth(1)
        .ok_or_else(|| io::Error::other("--socket PATH is missing"))
}

/// Shake hands, then answer every event until the host disconnects.
fn serve(host: UnixStream) -> io::Result<()> {
    let mut output = host.try_clone()?;
    let mut input = BufReader::new(host);
    write_frame(&mut output, HANDSHAKE)?;
    match read_frame(&mut input)? {
        Some(welcome) if json::text(&welcome, &["status"]).as_deref() == Some("ok") => {}
        refusal => return Err(io::Error::other(format!("the host refused: {refusal:?}"))),
    }
    let mut stats = Stats::default();
    while let Some(frame) = read_frame(&mut input)? {
        write_frame(&mut output, &stats.answer(&frame))?;
    }
    Ok(())
}

#[derive(Default)]
struct Stats {
    messages: u64,
    joined: u64,
    left: u64,
    by_name: HashMap<String, u64>,
}

impl Stats {
    fn answer(&mut self, frame: &str) -> String {
        match json::text(frame, &["event"]).as_deref() {
            Some("message.incoming") => self.count_message(frame),
            Some("user.online") => self.joined += 1,
            Some("user.offline") => self.left += 1,
            Some("stats.get") => return self.told(),
            _ => {}
        }
        r#"{"status":"ok"}"#.to_string()
    }

    fn count_message(&mut self, frame: &str) {
        self.messages += 1;
        let Some(name) = json::text(frame, &["payload", "from"]) else {
            return;
        };
        if self.by_name.len() < MAX_NAMES || self.by_name.contains_key(&name) {
            *self.by_name.entry(name).or_default() += 1;
        }
    }

    fn told(&self) -> String {
        let (busiest, most) = self.busiest();
        format!(
            r#"{{"status":"ok","data":{{"messages":{},"joined":{},"left":{},"busiest":{},"most":{most}}}}}"#,
            self.messages,
            self.joined,
            self.left,
            json::quote(busiest),
        )
    }

    /// Who said most: of several, the first by name.
    fn busiest(&self) -> (&str, u64) {
        self.by_name
            .iter()
            .map(|(name, said)| (name.as_str(), *said))
            .max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)))
            .unwrap_or(("", 0))
    }
}

/// Read one frame: its length as four bytes, big-endian, and that many bytes of JSON.
///
/// `None` means that the host has disconnected.
fn read_frame(input: &mut impl Read) -> io::Result<Option<String>> {
    let mut header = [0; 4];
    if let Err(error) = input.read_exact(&mut header) {
        return match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Ok(None),
            _ => Err(error),
        };
    }
    let length = u32::from_be_bytes(header) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    String::from_utf8(payload)
        .map(Some)
        .map_err(io::Error::other)
}

fn write_frame(output: &mut impl Write, json: &str) -> io::Result<()> {
    let mut frame = (json.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(json.as_bytes());
    output.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_tells() {
        let mut stats = Stats::default();
        for name in ["bob", "ada", "ada"] {
            let frame = format!(r#"{{"event":"message.incoming","payload":{{"from":"{name}"}}}}"#);
            assert_eq!(stats.answer(&frame), r#"{"status":"ok"}"#);
        }
        stats.answer(r#"{"event":"user.online","payload":{}}"#);
        let told = stats.answer(r#"{"event":"stats.get","payload":null}"#);
        let data = r#"{"messages":3,"joined":1,"left":0,"busiest":"ada","most":2}"#;
        assert_eq!(told, format!(r#"{{"status":"ok","data":{data}}}"#));
    }

    #[test]
    fn answers_what_it_cannot_read() {
        assert_eq!(Stats::default().answer("{"), r#"{"status":"ok"}"#);
    }
}
