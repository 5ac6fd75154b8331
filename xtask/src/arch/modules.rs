//! The modules of a package: none import each other in a circle, and in layers none imports from one above it.
//!
//! A module depends on the modules that define what its paths name: a name that a parent re-exports stands for the module it comes from.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use super::{
    Finding,
    source::{body, is},
};

/// Packages whose modules stand in layers, from the bottom to the top: a module imports from its own layer and from those before it.
pub(super) const LAYERS: [(&str, &[&str]); 1] = [(
    "crates/tensor",
    &[
        "number",
        "dual",
        "error",
        "layout",
        "geometry",
        "buffer",
        "isa",
        "check",
        "simd",
        "blocking",
        "kernels",
        "dispatch",
        "api",
        "array",
        "reference",
    ],
)];

const UPWARDS: &str = "a module imports from its own layer and from those below it";
const CIRCLE: &str = "modules never import each other in a circle";
const UNKNOWN: &str = "every module stands in a layer, in xtask's architecture check";

/// A module: its file, and the paths in it.
struct Module<'a> {
    file: &'a str,
    paths: Vec<Path>,
}

/// A path that begins in the package, and what it is called where it stands.
struct Path {
    /// From the package's root on.
    parts: Vec<String>,
    name: String,
    line: usize,
    /// It is given on by `pub use`.
    is_export: bool,
}

/// A path, and the module that defines what it names.
struct Import<'a> {
    to: &'a str,
    path: &'a Path,
}

/// All modules of a package, by their own path (`conv::fold`; of the root nothing).
type Modules<'a> = BTreeMap<String, Module<'a>>;

/// Checks the modules of `package`, whose sources are given by name.
pub(super) fn check(package: &str, sources: &[(String, TokenStream)], findings: &mut Vec<Finding>) {
    let folder = format!("{package}/src/");
    let sources: BTreeMap<String, (&str, &TokenStream)> = sources
        .iter()
        .filter_map(|(file, tokens)| {
            let path = file.strip_prefix(&folder)?.strip_suffix(".rs")?;
            let path = path.strip_suffix("/mod").unwrap_or(path);
            let path = if matches!(path, "lib" | "main" | "mod") { "" } else { path };
            Some((path.replace('/', "::"), (file.as_str(), tokens)))
        })
        .collect();
    let is_module = |path: &[String]| sources.contains_key(&path.join("::"));
    let modules: Modules<'_> = sources
        .iter()
        .map(|(name, (file, tokens))| {
            let here: Vec<String> =
                name.split("::").filter(|part| !part.is_empty()).map(String::from).collect();
            let mut paths = Vec::new();
            read(tokens, &here, &is_module, &mut paths);
            (name.clone(), Module { file, paths })
        })
        .collect();
    let layers = LAYERS.iter().find(|(name, _)| *name == package).map(|(_, layers)| *layers);
    let mut imports: BTreeMap<&str, Vec<Import<'_>>> =
        modules.keys().map(|name| (name.as_str(), imports(name, &modules))).collect();
    if layers.is_none() {
        // Without layers a folder's `mod.rs` may hold the trait that its files implement, and list these.
        for (name, imports) in &mut imports {
            imports.retain(|import| !format!("{name}::").starts_with(&format!("{}::", import.to)));
        }
    }
    let mut report = |module: &str, line, rule, found| {
        findings.push(Finding { file: modules[module].file.to_string(), line, rule, found });
    };
    for (from, import, circle) in circles(&imports) {
        let Path { line, parts, .. } = import.path;
        report(from, *line, CIRCLE, format!("`{}`: {}", parts.join("::"), circle.join(" -> ")));
    }
    let Some(layers) = layers else { return };
    // The root, which exports what callers may name, stands above all.
    let layer = |module: &str| {
        let first = module.split("::").next().unwrap_or_default();
        if first.is_empty() { Some(layers.len()) } else { layers.iter().position(|layer| *layer == first) }
    };
    for (from, imports) in imports {
        let Some(own) = layer(from) else {
            report(from, 1, UNKNOWN, format!("`{from}`"));
            continue;
        };
        for Import { to, path } in imports {
            if layer(to).is_some_and(|layer| layer > own) {
                report(from, path.line, UPWARDS, format!("`{}`", path.parts.join("::")));
            }
        }
    }
}

/// The first import of each circle that a walk through all modules closes, and the circle.
fn circles<'a>(
    imports: &'a BTreeMap<&'a str, Vec<Import<'a>>>,
) -> Vec<(&'a str, &'a Import<'a>, Vec<&'a str>)> {
    fn walk<'a>(
        imports: &'a BTreeMap<&'a str, Vec<Import<'a>>>,
        module: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
        found: &mut Vec<(&'a str, &'a Import<'a>, Vec<&'a str>)>,
    ) {
        way.push(module);
        for import in &imports[module] {
            if let Some(start) = way.iter().position(|module| *module == import.to) {
                let circle = way[start..].iter().copied().chain([import.to]).collect();
                found.push((module, import, circle));
            } else if !done.contains(import.to) {
                walk(imports, import.to, way, done, found);
            }
        }
        way.pop();
        done.insert(module);
    }
    let (mut done, mut found) = (BTreeSet::new(), Vec::new());
    for module in imports.keys() {
        if !done.contains(module) {
            walk(imports, module, &mut Vec::new(), &mut done, &mut found);
        }
    }
    found
}

/// What a module imports from others, each once.
fn imports<'a>(name: &str, modules: &'a Modules<'_>) -> Vec<Import<'a>> {
    let mut seen = BTreeSet::new();
    let paths = modules[name].paths.iter();
    let imports =
        paths.filter_map(|path| Some(Import { to: definition(path.parts.clone(), modules)?, path }));
    imports.filter(|import| import.to != name && seen.insert(import.to)).collect()
}

/// The module that defines what a path names: through re-exports, or the longest part of it that is a module. None for what comes
/// from another package.
fn definition<'a>(mut path: Vec<String>, modules: &'a Modules<'_>) -> Option<&'a str> {
    let mut is_exported = false;
    loop {
        let module = |depth: usize| modules.get_key_value(&path[..depth].join("::"));
        let (depth, (name, module)) =
            (0..=path.len()).rev().find_map(|depth| Some((depth, module(depth)?)))?;
        let exports = module.paths.iter().filter(|export| export.is_export);
        let exported = exports.rev().find(|export| Some(&export.name) == path.get(depth));
        let Some(exported) = exported.filter(|exported| exported.parts != path[..=depth]) else {
            return (depth > 0 || !is_exported).then_some(name);
        };
        is_exported = true;
        path = exported.parts.iter().chain(&path[depth + 1..]).cloned().collect();
    }
}

/// Adds every path in a module, `here`, that begins with `crate`, `self`, `super` or a child module.
fn read(tokens: &TokenStream, here: &[String], is_module: &dyn Fn(&[String]) -> bool, found: &mut Vec<Path>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let (mut i, mut is_export) = (0, false);
    while let Some(token) = tokens.get(i) {
        i += 1;
        match (token, &tokens[..i - 1]) {
            (TokenTree::Group(group), [.., TokenTree::Ident(word), TokenTree::Ident(name)])
                if word == "mod" =>
            {
                read(&group.stream(), &[here, &[name.to_string()]].concat(), is_module, found);
            }
            (TokenTree::Group(group), _) => read(&group.stream(), here, is_module, found),
            (TokenTree::Ident(word), before) if word == "use" => {
                is_export = match before {
                    [.., TokenTree::Ident(word), TokenTree::Group(_)] | [.., TokenTree::Ident(word)] => {
                        word == "pub"
                    }
                    _ => false,
                };
            }
            (TokenTree::Ident(word), before)
                if is_separator(&tokens[i..]) && !is_separator(&before[before.len().saturating_sub(2)..]) =>
            {
                let mut base = if word == "crate" { Vec::new() } else { here.to_vec() };
                step(&mut base, &word.to_string());
                if matches!(&*word.to_string(), "crate" | "self" | "super") || is_module(&base) {
                    let (line, first) = (word.span().start().line, found.len());
                    i += tree(&tokens[i..], base, found);
                    found[first..]
                        .iter_mut()
                        .for_each(|path| (path.line, path.is_export) = (line, is_export));
                }
            }
            (token, _) => is_export = is_export && !is(token, ';'),
        }
    }
}

/// Reads what follows a path's beginning, `::a::{b, c::d}`; adds its leaves and returns how many tokens it took.
fn tree(tokens: &[TokenTree], mut base: Vec<String>, leaves: &mut Vec<Path>) -> usize {
    let mut i = 0;
    let mut name = None;
    while is_separator(&tokens[i..]) {
        match tokens.get(i + 2) {
            Some(TokenTree::Ident(word)) => step(&mut base, &word.to_string()),
            Some(group) if body(group).is_some() => {
                let group: Vec<TokenTree> = body(group).into_iter().flatten().collect();
                for branch in group.split(|token| is(token, ',')) {
                    if let [TokenTree::Ident(word), rest @ ..] = branch {
                        let mut base = base.clone();
                        step(&mut base, &word.to_string());
                        tree(rest, base, leaves);
                    }
                }
                return i + 3;
            }
            Some(token) if is(token, '*') => name = Some("*".to_string()),
            // Generic arguments: the path ends here.
            _ => break,
        }
        i += 3;
    }
    if let [TokenTree::Ident(word), TokenTree::Ident(other), ..] = &tokens[i..]
        && word == "as"
    {
        name = Some(other.to_string());
    }
    let name = name.or_else(|| base.last().cloned()).unwrap_or_default();
    leaves.push(Path { parts: base, name, line: 0, is_export: false });
    i
}

/// Goes one word further.
fn step(path: &mut Vec<String>, word: &str) {
    match word {
        "crate" | "self" => {}
        "super" => _ = path.pop(),
        word => path.push(word.to_string()),
    }
}

/// Whether `::` comes next.
fn is_separator(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [a, b, ..] if is(a, ':') && is(b, ':'))
}
