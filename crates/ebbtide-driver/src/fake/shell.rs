//! The grammar of the fake's shell: simple commands, `&`, `;`, `> FILE`, `>> FILE`, `>&2`, single and double
//! quotes, `$$`, `$1`, `$NAME`, and the loops `while COMMAND; do ...; done` and `until`. Nothing else parses.

/// One statement of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Command { words: Vec<Word>, redirect: Redirect, background: bool },
    Loop { until: bool, condition: Box<Statement>, body: Vec<Statement> },
}

/// A word: parts that are put together once the variables are known.
pub(super) type Word = Vec<Part>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// `$NAME`, `$1`, `$$`.
    Variable(String),
}

/// Where a command's standard output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Redirect {
    None,
    ToStderr,
    File { path: Word, append: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(Word),
    End,
    Background,
    ToStderr,
    File { append: bool },
}

/// Reads a script.
///
/// # Errors
/// Words for a person where the script has something that the fake's shell does not know.
pub(super) fn parse(script: &str) -> Result<Vec<Statement>, String> {
    let tokens = tokens(script)?;
    let mut rest = tokens.as_slice();
    let statements = statements(&mut rest)?;
    match rest.first() {
        None => Ok(statements),
        Some(token) => Err(format!("unexpected {token:?}")),
    }
}

fn tokens(script: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = script;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            ' ' | '\t' => (None, 1),
            ';' | '\n' => (Some(Token::End), 1),
            '&' if rest.starts_with("&&") => return Err("no && in the fake's shell".to_owned()),
            '&' => (Some(Token::Background), 1),
            '>' if rest.starts_with(">&2") => (Some(Token::ToStderr), 3),
            '>' if rest.starts_with(">>") => (Some(Token::File { append: true }), 2),
            '>' => (Some(Token::File { append: false }), 1),
            '|' | '(' | ')' | '<' | '`' | '*' | '?' | '~' | '\\' | '#' => {
                return Err(format!("no {first} in the fake's shell"));
            }
            _ => {
                let (word, length) = word(rest)?;
                (Some(Token::Word(word)), length)
            }
        };
        tokens.extend(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Reads one word, and how many bytes it takes.
fn word(text: &str) -> Result<(Word, usize), String> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        match first {
            ' ' | '\t' | ';' | '\n' | '&' | '>' => break,
            '\'' => {
                let length = rest[1..].find('\'').ok_or("a single quote is not closed")?;
                parts.push(Part::Text(rest[1..=length].to_owned()));
                at += length + 2;
            }
            '"' => {
                let length = rest[1..].find('"').ok_or("a double quote is not closed")?;
                parts.push(Part::Text(String::new()));
                plain(&rest[1..=length], &mut parts)?;
                at += length + 2;
            }
            _ => {
                let length = rest.find([' ', '\t', ';', '\n', '&', '>', '\'', '"']).unwrap_or(rest.len());
                plain(&rest[..length], &mut parts)?;
                at += length;
            }
        }
    }
    Ok((parts, at))
}

/// Splits text into what stands for itself and the variables.
fn plain(text: &str, parts: &mut Word) -> Result<(), String> {
    let mut pieces = text.split('$');
    let literal = pieces.next().unwrap_or_default();
    if !literal.is_empty() {
        parts.push(Part::Text(literal.to_owned()));
    }
    while let Some(piece) = pieces.next() {
        let piece = match piece {
            "" => {
                parts.push(Part::Variable("$".to_owned()));
                pieces.next().unwrap_or_default()
            }
            piece => {
                let name =
                    piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(piece.len());
                if name == 0 {
                    return Err(format!("no ${piece} in the fake's shell"));
                }
                parts.push(Part::Variable(piece[..name].to_owned()));
                &piece[name..]
            }
        };
        if !piece.is_empty() {
            parts.push(Part::Text(piece.to_owned()));
        }
    }
    Ok(())
}

fn statements(rest: &mut &[Token]) -> Result<Vec<Statement>, String> {
    let mut statements = Vec::new();
    loop {
        while rest.first() == Some(&Token::End) {
            *rest = &rest[1..];
        }
        if rest.is_empty() || is_keyword(rest, "done") {
            return Ok(statements);
        }
        statements.push(statement(rest)?);
    }
}

fn statement(rest: &mut &[Token]) -> Result<Statement, String> {
    for (keyword, until) in [("while", false), ("until", true)] {
        if is_keyword(rest, keyword) {
            *rest = &rest[1..];
            let condition = Box::new(statement(rest)?);
            expect(rest, "do")?;
            let body = statements(rest)?;
            expect(rest, "done")?;
            return Ok(Statement::Loop { until, condition, body });
        }
    }
    if let Some(keyword) =
        ["if", "for", "case", "do", "{", "!"].into_iter().find(|word| is_keyword(rest, word))
    {
        return Err(format!("no {keyword} here in the fake's shell"));
    }
    let mut words = Vec::new();
    let mut redirect = Redirect::None;
    let mut background = false;
    while let Some((token, tail)) = rest.split_first() {
        *rest = tail;
        match token {
            Token::Word(word) => words.push(word.clone()),
            Token::ToStderr => redirect = Redirect::ToStderr,
            Token::File { append } => match rest.split_first() {
                Some((Token::Word(path), tail)) => {
                    redirect = Redirect::File { path: path.clone(), append: *append };
                    *rest = tail;
                }
                _ => return Err("a redirection names no file".to_owned()),
            },
            Token::Background => {
                background = true;
                break;
            }
            Token::End => break,
        }
    }
    if words.is_empty() {
        return Err("a command is empty".to_owned());
    }
    Ok(Statement::Command { words, redirect, background })
}

fn is_keyword(rest: &[Token], keyword: &str) -> bool {
    matches!(rest.first(), Some(Token::Word(word)) if matches!(word.as_slice(), [Part::Text(text)] if text == keyword))
}

fn expect(rest: &mut &[Token], keyword: &str) -> Result<(), String> {
    if !is_keyword(rest, keyword) {
        return Err(format!("{keyword} is missing"));
    }
    *rest = &rest[1..];
    Ok(())
}
