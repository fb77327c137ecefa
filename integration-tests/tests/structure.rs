//! Checks of the crates' structure: no three files of a crate may each need the others, and
//! ARCHITECTURE.md names files that exist.
//!
//! A file in an import circle cannot be read, tested or moved by itself. [`CRATES`] lists the
//! checked crates; a pair is permitted, such as a handle and its builder. A failure prints each
//! file of the circle, and its imports from the others.
//!
//! An import is a path in a file's code that leads into another file of its crate. Re-exports are
//! followed to where an item is defined, and tests do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The checked crates, each with central types that all its files may name.
const CRATES: [(&str, &[&str]); 15] = [
    ("mooq-core", &[]),
    ("mooq-engine", &["Engine", "Caller"]),
    ("mooq-wire", &[]),
    ("mooq-retry", &[]),
    ("mooq-session", &["Session"]),
    ("mooq-codecs", &[]),
    ("mooq-client", &[]),
    ("mooq-layers", &[]),
    ("mooq-metrics", &[]),
    ("mooq-rpc", &[]),
    ("mooq-workers", &[]),
    ("mooq-credentials", &[]),
    ("mooq-pool", &[]),
    ("mooq-topology", &[]),
    ("mooq-management", &[]),
];

/// Maximum number of files that may need one another.
const LARGEST_CIRCLE: usize = 2;

/// A path from the root of its crate.
type CratePath = Vec<String>;

/// Names that a file imports, by the file that defines them.
type Imports = BTreeMap<PathBuf, BTreeSet<String>>;

#[test]
fn no_three_files_of_a_crate_need_each_other() {
    for (name, left_out) in CRATES {
        let sources = Sources::read(&workspace().join("crates").join(name).join("src"));
        assert!(sources.files.len() > 3, "{name} has too few files to check");
        let imports = sources.imports(left_out);
        let large = circles(&imports).into_iter();
        let large: Vec<_> = large.filter(|c| c.len() > LARGEST_CIRCLE).collect();
        assert!(large.is_empty(), "{name}:{}", told(&large, &imports));
    }
}

#[test]
fn the_files_that_the_architecture_names_are_there() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md"))
        .expect("ARCHITECTURE.md can be read");
    let quoted = text.split('`').skip(1).step_by(2);
    let named: BTreeSet<_> = quoted.filter(|name| name.ends_with(".rs")).collect();
    assert!(
        named.len() > 40,
        "ARCHITECTURE.md names too few files: {named:?}"
    );
    let mut files = rust_files(&workspace().join("crates"));
    files.extend(rust_files(&workspace().join("integration-tests/src")));
    let own = Path::new("integration-tests/tests/structure.rs");
    files.push(own.to_owned());
    let is_there = |name: &&str| files.iter().any(|file| file.ends_with(name));
    let missing: Vec<_> = named.into_iter().filter(|name| !is_there(name)).collect();
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md names missing files: {missing:?}"
    );
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a crate.
#[derive(Default)]
struct Sources {
    files: BTreeMap<PathBuf, (CratePath, syn::File)>,
    modules: BTreeMap<CratePath, PathBuf>,
    /// The paths of names that a module re-exports.
    re_exports: BTreeMap<(CratePath, String), CratePath>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut sources = Self::default();
        for file in rust_files(root) {
            let text = fs::read_to_string(root.join(&file)).expect("the file can be read");
            let parsed = syn::parse_file(&text).expect("the file is Rust");
            sources.add(file, parsed);
        }
        sources.find_re_exports();
        sources
    }

    fn add(&mut self, file: PathBuf, parsed: syn::File) {
        let module = module_of(&file);
        self.modules.insert(module.clone(), file.clone());
        self.files.insert(file, (module, parsed));
    }

    fn find_re_exports(&mut self) {
        let mut found = BTreeMap::new();
        for (module, parsed) in self.files.values() {
            let is_public = |item: &&syn::ItemUse| !matches!(item.vis, syn::Visibility::Inherited);
            for item in uses(parsed).filter(is_public) {
                for (path, alias) in leaves(&item.tree) {
                    if let Some(target) = self.rooted(module, &BTreeMap::new(), &path) {
                        found.insert((module.clone(), alias), target);
                    }
                }
            }
        }
        self.re_exports = found;
    }

    /// The imports of every file from the others.
    fn imports(&self, left_out: &[&str]) -> BTreeMap<PathBuf, Imports> {
        let files = self.files.iter().map(|(file, (module, parsed))| {
            let mut aliases = BTreeMap::new();
            for (path, alias) in uses(parsed).flat_map(|item| leaves(&item.tree)) {
                if let Some(target) = self.rooted(module, &BTreeMap::new(), &path) {
                    aliases.insert(alias, target);
                }
            }
            let mut paths = Paths {
                sources: self,
                module,
                aliases,
                left_out,
                found: Imports::new(),
            };
            paths.visit_file(parsed);
            paths.found.remove(file);
            (file.clone(), paths.found)
        });
        files.collect()
    }

    /// A path as it stands in `module`, from the crate's root. None if it leads out of the crate.
    fn rooted(
        &self,
        module: &CratePath,
        aliases: &BTreeMap<String, CratePath>,
        path: &[String],
    ) -> Option<CratePath> {
        let (first, rest) = path.split_first()?;
        let mut rooted = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => {
                let parent = module.split_last()?.1.to_vec();
                if rest.first().is_some_and(|next| next == "super") {
                    return self.rooted(&parent, aliases, rest);
                }
                parent
            }
            name => {
                let mut child = module.clone();
                child.push(name.to_owned());
                if self.modules.contains_key(&child) {
                    child
                } else {
                    aliases.get(name)?.clone()
                }
            }
        };
        rooted.extend_from_slice(rest);
        Some(rooted)
    }

    /// The file with the item of a path. None if the path is a module.
    fn file_of(&self, path: &CratePath) -> Option<&PathBuf> {
        let mut path = path.clone();
        // Each turn follows one re-export; no name is re-exported more often.
        for _ in 0..16 {
            let is_module = |length: &usize| self.modules.contains_key(&path[..*length]);
            let length = (0..=path.len()).rev().find(is_module)?;
            let (module, rest) = path.split_at(length);
            let (name, rest) = rest.split_first()?;
            match self.re_exports.get(&(module.to_vec(), name.clone())) {
                Some(target) => path = [target, rest].concat(),
                None => return self.modules.get(module),
            }
        }
        None
    }
}

/// Collects the paths of one file.
struct Paths<'a> {
    sources: &'a Sources,
    module: &'a CratePath,
    /// Paths of the names that the file imports.
    aliases: BTreeMap<String, CratePath>,
    left_out: &'a [&'a str],
    found: Imports,
}

impl Paths<'_> {
    fn note(&mut self, path: &[String]) {
        let path = self.sources.rooted(self.module, &self.aliases, path);
        let Some(path) = path else { return };
        if path.iter().any(|part| self.left_out.contains(&&**part)) {
            return;
        }
        if let (Some(file), Some(name)) = (self.sources.file_of(&path), path.last()) {
            let names = self.found.entry(file.clone()).or_default();
            names.insert(name.clone());
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            // A re-export is no use of the name in this file.
            syn::Item::Use(item) if !matches!(item.vis, syn::Visibility::Inherited) => {}
            syn::Item::Use(item) if is_test(&item.attrs) => {}
            syn::Item::Use(item) => {
                for (path, _) in leaves(&item.tree) {
                    self.note(&path);
                }
            }
            syn::Item::Mod(item) if is_test(&item.attrs) => {}
            syn::Item::Fn(item) if is_test(&item.attrs) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if parts.len() > 1 {
            self.note(&parts);
        }
        visit::visit_path(self, path);
    }
}

fn uses(parsed: &syn::File) -> impl Iterator<Item = &syn::ItemUse> {
    let items = parsed.items.iter();
    let uses = items.filter_map(|item| match item {
        syn::Item::Use(item) => Some(item),
        _ => None,
    });
    uses.filter(|item| !is_test(&item.attrs))
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
        }
        _ => false,
    })
}

/// The paths that a `use` names, each with its alias.
fn leaves(tree: &syn::UseTree) -> Vec<(CratePath, String)> {
    let below = |first: &syn::Ident, rest: Vec<(CratePath, String)>| {
        let first = first.to_string();
        let rest = rest.into_iter();
        rest.map(|(path, alias)| {
            if path.is_empty() {
                (vec![first.clone()], first.clone())
            } else {
                ([vec![first.clone()], path].concat(), alias)
            }
        })
        .collect()
    };
    match tree {
        syn::UseTree::Path(path) => below(&path.ident, leaves(&path.tree)),
        syn::UseTree::Name(name) if name.ident == "self" => vec![(Vec::new(), String::new())],
        syn::UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        syn::UseTree::Rename(rename) => {
            vec![(vec![rename.ident.to_string()], rename.rename.to_string())]
        }
        syn::UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        syn::UseTree::Glob(_) => Vec::new(),
    }
}

/// The files below `root`, by their relative paths, without files of tests.
fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).expect("the folder can be read");
        for entry in entries {
            let entry = entry.expect("the folder can be read");
            let path = folder.join(entry.file_name());
            if path.file_stem().is_some_and(|stem| stem == "tests") {
                continue;
            }
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn module_of(file: &Path) -> CratePath {
    let parts = file.with_extension("");
    let mut module: Vec<_> = parts
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        module.pop();
    }
    module
}

/// The sets of files that need one another.
fn circles(imports: &BTreeMap<PathBuf, Imports>) -> Vec<BTreeSet<&PathBuf>> {
    let reached: BTreeMap<_, _> = imports
        .keys()
        .map(|start| {
            let mut reached = BTreeSet::new();
            let mut open = vec![start];
            while let Some(file) = open.pop() {
                for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                    if reached.insert(next) {
                        open.push(next);
                    }
                }
            }
            (start, reached)
        })
        .collect();
    let circles: BTreeSet<BTreeSet<_>> = reached
        .iter()
        .map(|(file, reached_from)| {
            let returns = |other: &&PathBuf| reached[other].contains(file);
            reached_from.iter().copied().filter(returns).collect()
        })
        .collect();
    circles
        .into_iter()
        .filter(|circle| !circle.is_empty())
        .collect()
}

/// Circles in words.
fn told(circles: &[BTreeSet<&PathBuf>], imports: &BTreeMap<PathBuf, Imports>) -> String {
    let mut told = String::new();
    for circle in circles {
        let _ = write!(told, "\n  {} files need one another:", circle.len());
        for file in circle {
            let taken = imports[*file]
                .iter()
                .filter(|(from, _)| circle.contains(from));
            let taken = taken.map(|(from, names)| {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                format!("{} ({})", from.display(), names.join(" "))
            });
            let taken: Vec<_> = taken.collect();
            let _ = write!(told, "\n    {}: {}", file.display(), taken.join(", "));
        }
    }
    told
}

fn crate_of(files: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::default();
    for (file, text) in files {
        let parsed = syn::parse_file(text).expect("the file is Rust");
        sources.add(file.into(), parsed);
    }
    sources.find_re_exports();
    sources
}

#[test]
fn a_circle_is_found_through_re_exports_aliases_and_paths() {
    let sources = crate_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a/mod.rs", "mod inner; pub use inner::Inner;"),
        ("a/inner.rs", "use crate::b; pub struct Inner(b::B);"),
        (
            "b.rs",
            "use super::c::{self as other}; pub struct B(other::C);",
        ),
        ("c.rs", "pub struct C(crate::a::Inner);"),
    ]);
    let imports = sources.imports(&[]);
    let found = circles(&imports);
    let files = ["a/inner.rs", "b.rs", "c.rs"].map(PathBuf::from);
    assert_eq!(found, [files.iter().collect()]);
    let told = told(&found, &imports);
    assert!(told.contains("c.rs: a/inner.rs (Inner)"), "{told}");
}

#[test]
fn circle_is_not_closed_by_tests_or_left_out_types() {
    let sources = crate_of(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }",
        ),
        ("b.rs", "use crate::a::A; pub struct B(A, crate::All);"),
    ]);
    let imports = sources.imports(&["All"]);
    assert!(circles(&imports).is_empty(), "{imports:?}");
    assert_eq!(imports[Path::new("b.rs")].len(), 1);
}
