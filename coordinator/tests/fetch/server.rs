//! A small HTTP/1.1 server that answers as it is told to and keeps what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How a path is answered, once; the last answer of a path stays.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes, ranges of them too.
    File { bytes: Vec<u8>, etag: &'static str },
    /// These bytes, always from the start and without an ETag.
    NoRanges(Vec<u8>),
    /// The head of `File`, the first bytes, and the end of the connection.
    Cut { bytes: Vec<u8>, etag: &'static str, after: usize },
    /// The head of `File`, the first bytes, and nothing more until the client leaves.
    Stall { bytes: Vec<u8>, after: usize },
    /// Nothing at all until the client leaves.
    Silence,
    /// This part of another file, whatever was asked.
    OtherPart { first: usize, bytes: Vec<u8> },
    /// A status without a body.
    Status(u16),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Vec<Answer>>,
    asked: Vec<Asked>,
}

pub struct Server {
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl Server {
    pub fn new() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let shared = Arc::clone(&script);
        // It ends with the process: a client that stays connected must not hold a test up.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let script = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &script));
            }
        });
        Server { url, script }
    }

    pub fn answers(&self, path: &str, answers: Vec<Answer>) -> &Server {
        self.script.lock().unwrap().answers.insert(path.to_owned(), answers);
        self
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }
}

/// One request per connection.
fn serve(stream: TcpStream, script: &Mutex<Script>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        let lines = lines.iter().filter_map(|line| line.split_once(": "));
        lines.clone().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned())
    };
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let asked = Asked { path: path.clone(), range: header("range"), if_range: header("if-range") };
    let answer = {
        let mut script = script.lock().unwrap();
        script.asked.push(asked.clone());
        let answers = script.answers.entry(path).or_default();
        match answers.len() {
            0 => Answer::Status(404),
            1 => answers[0].clone(),
            _ => answers.remove(0),
        }
    };
    // A client that leaves early is part of some tests.
    drop(reply(&stream, &mut reader, &asked, answer));
}

fn reply(
    mut stream: &TcpStream,
    reader: &mut impl Read,
    asked: &Asked,
    answer: Answer,
) -> std::io::Result<()> {
    let mut head = |status: &str, length: usize, more: &str| {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n{more}\r\n").as_bytes())
    };
    let ok = |etag: &str| format!("ETag: {etag}\r\nAccept-Ranges: bytes\r\n");
    match answer {
        Answer::File { bytes, etag } => {
            let first = asked.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
            let first = first.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok());
            let first = first.filter(|_| asked.if_range.as_deref().is_none_or(|tag| tag == etag));
            match first {
                Some(first) => {
                    let range = format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len());
                    let more = format!("{}Content-Range: {range}\r\n", ok(etag));
                    head("206 Partial Content", bytes.len() - first, &more)?;
                    stream.write_all(&bytes[first..])
                }
                None => {
                    head("200 OK", bytes.len(), &ok(etag))?;
                    stream.write_all(&bytes)
                }
            }
        }
        Answer::NoRanges(bytes) => {
            head("200 OK", bytes.len(), "")?;
            stream.write_all(&bytes)
        }
        Answer::Cut { bytes, etag, after } => {
            head("200 OK", bytes.len(), &ok(etag))?;
            stream.write_all(&bytes[..after])
        }
        Answer::Stall { bytes, after } => {
            head("200 OK", bytes.len(), &ok("\"stalled\""))?;
            stream.write_all(&bytes[..after])?;
            reader.read_to_end(&mut Vec::new()).map(drop)
        }
        Answer::Silence => reader.read_to_end(&mut Vec::new()).map(drop),
        Answer::OtherPart { first, bytes } => {
            let range = format!("bytes {first}-{}/*", first + bytes.len() - 1);
            head("206 Partial Content", bytes.len(), &format!("Content-Range: {range}\r\n"))?;
            stream.write_all(&bytes)
        }
        Answer::Status(status) => head(&format!("{status} Of The Test"), 0, ""),
    }
}
