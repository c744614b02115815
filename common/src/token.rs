//! The secret by which a worker or a client shows that it may ask. Whoever has the text may; it is
//! never printed, and only its hash is compared.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};

/// Random bytes of a new token: nobody guesses it, at whatever rate.
const TOKEN_BYTES: usize = 32;
/// Shorter than this is a word that somebody thought of.
const TOKEN_CHARS_MIN: usize = 32;
/// Longer is another kind of file.
const TOKEN_CHARS_MAX: usize = 512;
/// What stands before the token in an `authorization` header.
const SCHEME: &str = "bearer";

/// A token's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Text that is no token. It names no part of the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Nothing in it.
    #[error("no token in it")]
    Empty,
    /// Too short or too long.
    #[error(
        "a token of {chars} characters: {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} are accepted; \
         `coordinator init-tls` makes some"
    )]
    Length {
        /// How long it is.
        chars: usize,
    },
    /// What a header cannot carry.
    #[error("a token of other characters than letters, digits and - . _ ~ + / =")]
    Characters,
}

impl Token {
    /// A new one, of the system's random numbers.
    pub fn generate() -> Token {
        let mut bytes = [0; TOKEN_BYTES];
        let provider = rustls::crypto::ring::default_provider();
        provider.secure_random.fill(&mut bytes).expect("the system has random numbers");
        Token(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads one, with white space around it.
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        let is_accepted = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
        match text.len() {
            0 => Err(TokenError::Empty),
            _ if !text.chars().all(is_accepted) => Err(TokenError::Characters),
            chars if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&chars) => {
                Err(TokenError::Length { chars })
            }
            _ => Ok(Token(text.to_owned())),
        }
    }

    /// The text, for a file, an environment or a header.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// For comparing.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// What is kept of a token where it only has to be recognised.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of a text that claims to be a token.
    pub fn of(text: &str) -> TokenHash {
        TokenHash(*blake3::hash(text.as_bytes()).as_bytes())
    }

    fn is(&self, other: &TokenHash) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(hidden)")
    }
}

/// Tokens that are accepted; several, so that they can be changed one after the other.
#[derive(Clone, Default, Debug)]
pub struct Tokens(Vec<TokenHash>);

impl Tokens {
    /// One token a line; empty lines and those that begin with `#` do not count.
    pub fn parse(text: &str) -> Result<Tokens, TokenError> {
        let tokens = lines(text).map(|line| Token::parse(line).map(|token| token.hash()));
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        if tokens.is_empty() { Err(TokenError::Empty) } else { Ok(Tokens(tokens)) }
    }

    /// Accepts one more.
    pub fn add(&mut self, token: TokenHash) {
        self.0.push(token);
    }

    /// Whether it is among them, in a time that does not tell which or how nearly.
    pub fn accept(&self, token: &TokenHash) -> bool {
        let found = self.0.iter().map(|accepted| accepted.is(token));
        found.fold(Choice::from(0), |any, one| any | one).into()
    }
}

/// The lines of a file of tokens that have one: not those that are empty or begin with `#`.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The token of an `authorization` header.
pub fn of_header(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tokens_differ_and_are_read_back() {
        let (one, other) = (Token::generate(), Token::generate());
        assert_ne!(one, other);
        assert_eq!(one.secret().len(), 2 * TOKEN_BYTES);
        assert_eq!(Token::parse(&format!(" {}\n", one.secret())), Ok(one));
    }

    #[test]
    fn no_part_of_a_token_is_shown() {
        let token = Token::generate();
        let shown = format!("{token:?} {:?}", token.hash());
        assert_eq!(shown, "Token(hidden) TokenHash(hidden)");
        let refused = Token::parse("not a good one, but a secret").expect_err("spaces");
        assert!(!refused.to_string().contains("good"), "{refused}");
    }

    #[test]
    fn words_that_somebody_thought_of_are_refused() {
        assert_eq!(Token::parse(" \n"), Err(TokenError::Empty));
        assert_eq!(Token::parse("hunter2"), Err(TokenError::Length { chars: 7 }));
        assert_eq!(Token::parse(&"é".repeat(40)), Err(TokenError::Characters));
    }

    #[test]
    fn every_token_of_a_file_is_accepted_and_no_other() {
        let tokens = [Token::generate(), Token::generate()];
        let file = format!("# new\n{}\n\n{}\n", tokens[0].secret(), tokens[1].secret());
        let accepted = Tokens::parse(&file).expect("two tokens");
        assert!(tokens.iter().all(|token| accepted.accept(&token.hash())));
        assert!(!accepted.accept(&Token::generate().hash()));
        assert!(!accepted.accept(&TokenHash::of("")));
        assert!(Tokens::parse("# none\n").is_err());
    }

    #[test]
    fn a_header_names_its_scheme() {
        assert_eq!(of_header("Bearer abc"), Some("abc"));
        assert_eq!(of_header("bearer  abc "), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer", ""] {
            assert_eq!(of_header(other), None, "{other}");
        }
    }
}
