//! Rust sources as the rules read them: tokens, among which are no comments, and none of tests.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The tokens of a source but for the items behind `#[cfg(test)]`.
pub(super) fn tokens(text: &str) -> Result<TokenStream> {
    let tokens = text.parse().map_err(|error: proc_macro2::LexError| {
        anyhow!("line {} is not Rust: {error}", error.span().start().line)
    })?;
    Ok(without_tests(tokens))
}

/// How often a word stands in them.
pub(super) fn count(tokens: TokenStream, word: &str) -> usize {
    let of = |token| match token {
        TokenTree::Group(group) => count(group.stream(), word),
        TokenTree::Ident(ident) => usize::from(ident == word),
        TokenTree::Punct(_) | TokenTree::Literal(_) => 0,
    };
    tokens.into_iter().map(of).sum()
}

fn without_tests(tokens: TokenStream) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    let mut kept = Vec::new();
    while let Some(token) = tokens.next() {
        if is(&token, '#') && tokens.peek().is_some_and(|next| next.to_string() == "[cfg (test)]") {
            // The item ends with its body, or with a semicolon if that comes first.
            tokens.find(|token| is(token, ';') || body(token).is_some());
        } else if let TokenTree::Group(group) = token {
            let mut inner = Group::new(group.delimiter(), without_tests(group.stream()));
            inner.set_span(group.span());
            kept.push(TokenTree::Group(inner));
        } else {
            kept.push(token);
        }
    }
    kept.into_iter().collect()
}

/// Whether a token is this sign.
pub(super) fn is(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

/// What stands in braces, if a token is such a group.
pub(super) fn body(token: &TokenTree) -> Option<TokenStream> {
    match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    }
}
