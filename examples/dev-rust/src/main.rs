//! A vconnect plugin with the standard library only.
//!
//! It answers each message with its content in upper case and its length. It ends when the host
//! closes the connection: a host that wants it back starts it again.

mod json;

use json::{parse, quote, Value};
use std::env;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

const NAME: &str = "dev-rust";
const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
const TRIES: usize = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

struct Arguments {
    socket: String,
    debug: bool,
}

fn main() -> ExitCode {
    let arguments = match read_arguments(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{NAME}: {message}");
            return ExitCode::from(2);
        }
    };
    match connect(&arguments.socket).and_then(|host| serve(host, arguments.debug)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Read the three arguments that a host may pass; any other is an error.
fn read_arguments(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        socket: format!("./plugins/{NAME}.sock"),
        debug: false,
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--socket" => arguments.socket = given.next().ok_or("--socket needs a path")?,
            "--debug" | "-d" => arguments.debug = true,
            "--log-level" => {
                let level = given.next().ok_or("--log-level needs a level")?;
                arguments.debug |= level == "debug" || level == "trace";
            }
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(arguments)
}

/// Connect. The host may still be starting, so this retries for five seconds.
fn connect(socket: &str) -> io::Result<UnixStream> {
    for _ in 1..TRIES {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(_) => sleep(BETWEEN_TRIES),
        }
    }
    UnixStream::connect(socket).map_err(|error| describe(error, socket))
}

fn describe(error: io::Error, socket: &str) -> io::Error {
    io::Error::new(error.kind(), format!("cannot connect to {socket}: {error}"))
}

/// Send the handshake, then answer every event, each with exactly one frame, in order.
fn serve(host: UnixStream, debug: bool) -> io::Result<()> {
    let mut output = host.try_clone()?;
    let mut input = BufReader::new(host);
    // The spelling of the original Rust SDK ("name"); "plugin_no" means the same.
    let hello = format!(
        r#"{{"capabilities":["message"],"name":{},"priority":1,"version":"0.1.0"}}"#,
        quote(NAME)
    );
    write_frame(&mut output, &hello)?;
    let Some(welcome) = read_frame(&mut input)? else {
        return Err(io::Error::other(
            "the host closed the connection during the handshake",
        ));
    };
    check_welcome(&welcome)?;
    while let Some(frame) = read_frame(&mut input)? {
        let answer = answer(&frame);
        if debug {
            eprintln!("{NAME}: {frame} -> {answer}");
        }
        if write_frame(&mut output, &answer).is_err() {
            break; // the host disconnected while we were answering
        }
    }
    Ok(())
}

fn check_welcome(frame: &str) -> io::Result<()> {
    let welcome = parse(frame).map_err(io::Error::other)?;
    if welcome.get("status").and_then(Value::as_str) == Some("ok") {
        return Ok(());
    }
    Err(io::Error::other(format!("the host refused: {frame}")))
}

/// Every event gets an answer, even one that cannot be parsed: the host counts answers.
fn answer(frame: &str) -> String {
    match parse(frame) {
        Ok(event) => reply(&event),
        Err(message) => format!(r#"{{"status":"error","message":{}}}"#, quote(&message)),
    }
}

fn reply(event: &Value) -> String {
    let content = event
        .get("payload")
        .and_then(|payload| payload.get("content"));
    let Some(content) = content.and_then(Value::as_str) else {
        return r#"{"status":"ok"}"#.to_string();
    };
    format!(
        r#"{{"status":"ok","data":{{"length":{},"content":{}}}}}"#,
        content.chars().count(),
        quote(&content.to_uppercase())
    )
}

/// Read one frame: its length as four bytes, big-endian, and that many bytes of JSON.
///
/// `None` means that the host has closed the connection, even in the middle of a frame.
fn read_frame(input: &mut impl Read) -> io::Result<Option<String>> {
    let mut header = [0; 4];
    if !fill(input, &mut header)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(header) as usize;
    if length == 0 || length > MAX_FRAME_BYTES {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes; 1 to {MAX_FRAME_BYTES} are allowed"
        )));
    }
    let mut payload = vec![0; length];
    if !fill(input, &mut payload)? {
        return Ok(None);
    }
    String::from_utf8(payload)
        .map(Some)
        .map_err(io::Error::other)
}

/// Fill `buffer`; false if the host disconnected first.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ok(false),
            _ => Err(error),
        },
    }
}

fn write_frame(output: &mut impl Write, json: &str) -> io::Result<()> {
    let mut frame = Vec::with_capacity(4 + json.len());
    frame.extend_from_slice(&(json.len() as u32).to_be_bytes());
    frame.extend_from_slice(json.as_bytes());
    output.write_all(&frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_length_and_upper_case() {
        let event = r#"{"event":"message.incoming","payload":{"content":"stra\u00dfe"}}"#;
        assert_eq!(
            answer(event),
            r#"{"status":"ok","data":{"length":6,"content":"STRASSE"}}"#
        );
    }

    #[test]
    fn answers_what_it_cannot_read() {
        assert_eq!(
            answer(r#"{"event":"message.incoming","payload":7}"#),
            r#"{"status":"ok"}"#
        );
        assert!(answer("{").starts_with(r#"{"status":"error""#));
    }

    #[test]
    fn frames_survive_a_round_trip() {
        let mut wire = Vec::new();
        write_frame(&mut wire, "{}").unwrap();
        assert_eq!(wire, b"\0\0\0\x02{}");
        assert_eq!(
            read_frame(&mut wire.as_slice()).unwrap().as_deref(),
            Some("{}")
        );
        assert_eq!(read_frame(&mut &wire[..5]).unwrap(), None);
        assert!(read_frame(&mut &[255, 255, 255, 255][..]).is_err());
    }
}
