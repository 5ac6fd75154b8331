//! The pages of the repository: the commands they show exist, and so do the files they link to.

use std::{fs, path::Path, path::PathBuf};

use assert_cmd::Command;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Name and text of each page.
fn pages() -> Vec<(String, String)> {
    let read = |name: String| {
        let text = fs::read_to_string(root().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, text)
    };
    let mut names = vec!["README.md".to_string()];
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.into_iter().map(read).collect()
}

fn help(arguments: &[String]) -> std::process::Output {
    Command::cargo_bin("xtask").unwrap().args(arguments).arg("--help").output().unwrap()
}

#[test]
fn every_command_shown_is_understood() {
    let mut seen = 0;
    for (page, text) in pages() {
        for line in code(&text, "sh") {
            let Some((_, line)) = line.split_once("cargo xtask ") else { continue };
            let arguments = words(line);
            // What stands before --help is parsed first: an unknown option or a wrong value is an error.
            let output = help(&arguments);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}: `cargo xtask {}`: {said}", arguments.join(" "));
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} commands found: has the form of the pages changed?");
}

#[test]
fn the_readme_names_every_command() {
    let output = help(&[]);
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let (_, readme) = pages().swap_remove(0);
    let mut seen = 0;
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|&name| name != "help") {
        assert!(
            readme.contains(&format!("`{name}`")) || readme.contains(&format!("`{name} ")),
            "README.md: no row in the table of commands for `{name}`"
        );
        seen += 1;
    }
    assert!(seen > 5, "only {seen} commands found in {help}");
}

#[test]
fn links_lead_to_files() {
    for (page, text) in pages() {
        let folder = root().join(&page).parent().unwrap().to_path_buf();
        for target in links(&text).iter().filter(|target| !target.contains("://")) {
            let (file, anchor) =
                target.split_once('#').map_or((target.as_str(), None), |(a, b)| (a, Some(b)));
            let path = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            assert!(path.exists(), "{page}: a link to {target}, which is not there");
            if let Some(anchor) = anchor {
                let anchors = anchors(&fs::read_to_string(path).unwrap());
                assert!(
                    anchors.iter().any(|found| found == anchor),
                    "{page}: a link to {target}, which is no heading"
                );
            }
        }
    }
}

fn events(text: &str) -> Parser<'_> {
    Parser::new_ext(text, Options::ENABLE_TABLES)
}

/// Where links and images lead.
fn links(text: &str) -> Vec<String> {
    let target = |event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    };
    events(text).filter_map(target).collect()
}

/// The anchors that a page gives its headings.
fn anchors(text: &str) -> Vec<String> {
    let (mut anchors, mut title) = (Vec::new(), None);
    for event in events(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => title = Some(String::new()),
            Event::Text(text) | Event::Code(text) => title.iter_mut().for_each(|title| *title += &text),
            Event::End(TagEnd::Heading(_)) => anchors.extend(title.take().map(|title| slug(&title))),
            _ => {}
        }
    }
    anchors
}

/// The lines inside the fenced blocks of a language.
fn code(text: &str, language: &str) -> Vec<String> {
    let (mut lines, mut inside) = (Vec::new(), false);
    for event in events(text) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(found))) => inside = *found == *language,
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(text) if inside => lines.extend(text.lines().map(String::from)),
            _ => {}
        }
    }
    lines
}

/// The words of a shell command: blanks part them, double quotes hold them together, `|` and `#` end the command.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            '|' | '#' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The anchor of a heading, as GitHub makes it.
fn slug(title: &str) -> String {
    let title = title.to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || "-_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
