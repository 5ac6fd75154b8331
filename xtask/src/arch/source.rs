//! Rust sources as the rules read them: without comments, strings and tests.

/// The same text with comments, strings and character literals turned into blanks; lines stay where they were.
pub(super) fn blank_comments_and_strings(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<char> = chars.iter().map(|&c| if c == '\n' { '\n' } else { ' ' }).collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let word_before = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        i = match (at(i), at(i + 1)) {
            ('/', '/') => skip_line(&chars, i),
            ('/', '*') => skip_block_comment(&chars, i),
            ('"', _) => skip_string(&chars, i + 1),
            ('r', '"' | '#') if !word_before => skip_raw_string(&chars, i + 1),
            ('b' | 'c', 'r') if !word_before && matches!(at(i + 2), '"' | '#') => {
                skip_raw_string(&chars, i + 2)
            }
            ('\'', '\\') => skip_to_quote(&chars, i + 3),
            ('\'', _) if at(i + 2) == '\'' => i + 3,
            (c, _) => {
                out[i] = c;
                i + 1
            }
        };
    }
    out.into_iter().collect()
}

fn skip_line(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '\n' {
        i += 1;
    }
    i
}

fn skip_block_comment(chars: &[char], mut i: usize) -> usize {
    let mut depth = 0;
    while i < chars.len() {
        match chars[i..] {
            ['/', '*', ..] => (depth, i) = (depth + 1, i + 2),
            ['*', '/', ..] => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// `i` stands after the opening quote; the answer, after the closing one.
fn skip_string(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// `i` stands after the `r`; `r#name` is a raw identifier, not a string, and is passed over.
fn skip_raw_string(chars: &[char], i: usize) -> usize {
    let hashes = chars[i..].iter().take_while(|&&c| c == '#').count();
    if chars.get(i + hashes) != Some(&'"') {
        return i + hashes;
    }
    let mut end = i + hashes + 1;
    while end < chars.len() {
        let closes = chars[end] == '"'
            && chars[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        end += 1;
        if closes {
            return end + hashes;
        }
    }
    end
}

fn skip_to_quote(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '\'' {
        i += 1;
    }
    i + 1
}

/// Blanks the item behind every `#[cfg(test)]`: to its closing brace, or its semicolon if that comes first.
pub(super) fn blank_tests(code: &str) -> String {
    let mut out = code.to_string();
    while let Some(start) = out.find("#[cfg(test)]") {
        let mut depth = 0;
        let mut end = out.len();
        for (i, c) in out[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == '}' || c == ';') && depth == 0 {
                end = start + i + 1;
                break;
            }
        }
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}
