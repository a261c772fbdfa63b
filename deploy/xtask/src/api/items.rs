//! The public items of a library, from rustdoc's JSON: a line each, by the path that users write.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::signature::{bounds, entry, function, generics, name, types};

/// Every public item, with its signature.
///
/// # Errors
/// When the JSON is not as expected, with the version of its format.
pub fn list(described: &Value, library: &str) -> Result<BTreeSet<String>> {
    let mut list =
        List { index: &described["index"], items: BTreeSet::new(), paths: BTreeMap::new() };
    let root = &described["root"];
    list.module(root, library).with_context(|| {
        format!("rustdoc's format {} is unknown here", described["format_version"])
    })?;
    Ok(list.items)
}

struct List<'a> {
    index: &'a Value,
    items: BTreeSet<String>,
    /// Where an item is listed, by its id.
    paths: BTreeMap<u64, String>,
}

impl<'a> List<'a> {
    /// An item by its id; none for one of another crate.
    fn find(&self, id: &Value) -> Option<&'a Value> {
        let id = id.as_u64().map(|id| id.to_string())?;
        self.index.get(&id)
    }

    fn all(&self, ids: &Value) -> Result<Vec<&'a Value>> {
        let ids = ids.as_array().context("a list of ids")?;
        Ok(ids.iter().filter_map(|id| self.find(id)).collect())
    }

    fn module(&mut self, id: &Value, path: &str) -> Result<()> {
        let module = self.find(id).context("a module")?;
        self.items_of(&module["inner"]["module"]["items"], path)
    }

    fn items_of(&mut self, ids: &Value, path: &str) -> Result<()> {
        // Modules come last, so that an item is listed where its path is shortest.
        let mut items = self.all(ids)?;
        items.sort_by_key(|item| !item["inner"]["module"].is_null());
        for item in items {
            self.item(item, path, None)?;
        }
        Ok(())
    }

    /// An item of the module `path`, under another name if it is used so.
    fn item(&mut self, item: &Value, path: &str, renamed: Option<&str>) -> Result<()> {
        let (kind, inner) = entry(&item["inner"])?;
        if kind == "use" {
            let used = self.find(&inner["id"]);
            return match used {
                Some(module) if inner["is_glob"] == true => {
                    let (kind, inner) = entry(&module["inner"])?;
                    self.items_of(&inner[if kind == "enum" { "variants" } else { "items" }], path)
                }
                Some(used) => self.item(used, path, inner["name"].as_str()),
                None => {
                    self.line(format!("use {path}::{} = {}", name(inner)?, inner["source"]));
                    Ok(())
                }
            };
        }
        let path = format!("{path}::{}", renamed.map_or_else(|| name(item), Ok)?);
        if let Some(id) = item["id"].as_u64() {
            if let Some(first) = self.paths.get(&id) {
                self.line(format!("use {path} = {first}"));
                return Ok(());
            }
            self.paths.insert(id, path.clone());
        }
        let open = open(item);
        match kind {
            "module" => self.items_of(&inner["items"], &path)?,
            "struct" | "union" => {
                self.line(format!("{open}{kind} {path}{}", generics(&inner["generics"])?));
                let kind = &inner["kind"];
                let named = kind["plain"]["fields"].as_array().or(inner["fields"].as_array());
                let numbered = kind["tuple"].as_array();
                self.fields(&path, named.into_iter().chain(numbered).flatten())?;
                self.implementations(&path, &inner["impls"])?;
            }
            "enum" => {
                self.line(format!("{open}enum {path}{}", generics(&inner["generics"])?));
                for variant in self.all(&inner["variants"])? {
                    self.variant(variant, &path)?;
                }
                self.implementations(&path, &inner["impls"])?;
            }
            "variant" => self.variant(item, path.rsplit_once("::").context("a path")?.0)?,
            "trait" => {
                let (generics, above) =
                    (generics(&inner["generics"])?, bounds(&inner["bounds"], ": ")?);
                self.line(format!("trait {path}{generics}{above}"));
                for item in self.all(&inner["items"])? {
                    self.associated(item, &path, true)?;
                }
            }
            "function" => self.line(format!("fn {path}{}", function(inner)?)),
            "constant" => {
                let value = inner["const"]["value"].as_str().or(inner["const"]["expr"].as_str());
                let ty = types(&inner["type"])?;
                self.line(format!("const {path}: {ty} = {}", value.unwrap_or("_")));
            }
            "static" => self.line(format!("static {path}: {}", types(&inner["type"])?)),
            "type_alias" => {
                let generics = generics(&inner["generics"])?;
                self.line(format!("type {path}{generics} = {}", types(&inner["type"])?));
            }
            "macro" | "proc_macro" => self.line(format!("macro {path}!")),
            other => bail!("{path} is of the kind {other}"),
        }
        Ok(())
    }

    fn line(&mut self, text: String) {
        // What a macro shows may have several lines.
        self.items.insert(text.split_whitespace().collect::<Vec<_>>().join(" "));
    }

    /// Public fields, named or by number.
    fn fields<'v>(&mut self, path: &str, ids: impl IntoIterator<Item = &'v Value>) -> Result<()> {
        for id in ids {
            let Some(field) = self.find(id) else { continue };
            let ty = types(&field["inner"]["struct_field"])?;
            self.line(format!("field {path}::{}: {ty}", name(field)?));
        }
        Ok(())
    }

    fn variant(&mut self, variant: &Value, path: &str) -> Result<()> {
        let inner = &variant["inner"]["variant"];
        let path = format!("{path}::{}", name(variant)?);
        let value = inner["discriminant"]["value"].as_str();
        let value = value.map(|value| format!(" = {value}")).unwrap_or_default();
        let open = open(variant);
        self.line(format!("{open}variant {path}{value}"));
        let kind = &inner["kind"];
        let fields = kind["tuple"].as_array().or(kind["struct"]["fields"].as_array());
        self.fields(&path, fields.into_iter().flatten())
    }

    /// What is implemented for a type: its own functions, and the traits, without those that the
    /// compiler implements or that are implemented for every type.
    fn implementations(&mut self, path: &str, ids: &Value) -> Result<()> {
        for item in self.all(ids)? {
            let inner = &item["inner"]["impl"];
            if inner["is_synthetic"] == true || !inner["blanket_impl"].is_null() {
                continue;
            }
            if inner["trait"].is_null() {
                for item in self.all(&inner["items"])? {
                    self.associated(item, path, false)?;
                }
            } else {
                let ty = types(&inner["for"])?;
                let (generics, of) = (generics(&inner["generics"])?, trait_of(inner)?);
                self.line(format!("impl{generics} {of} for {ty} ({path})"));
                for item in self.all(&inner["items"])? {
                    let (kind, inner) = entry(&item["inner"])?;
                    if kind == "assoc_type" {
                        let is = types(&inner["type"])?;
                        self.line(format!("type <{ty} as {of}>::{} = {is}", name(item)?));
                    }
                }
            }
        }
        Ok(())
    }

    /// An item of a trait or of a type's own implementation.
    fn associated(&mut self, item: &Value, path: &str, of_trait: bool) -> Result<()> {
        if !of_trait && item["visibility"] != "public" {
            return Ok(());
        }
        let (kind, inner) = entry(&item["inner"])?;
        let path = format!("{path}::{}", name(item)?);
        match kind {
            "function" => {
                let provided = of_trait && inner["has_body"] == true;
                let provided = if provided { " { … }" } else { "" };
                self.line(format!("fn {path}{}{provided}", function(inner)?));
            }
            "assoc_const" => {
                let value = inner["value"].as_str().map(|value| format!(" = {value}"));
                let ty = types(&inner["type"])?;
                self.line(format!("const {path}: {ty}{}", value.unwrap_or_default()));
            }
            "assoc_type" => {
                let of = bounds(&inner["bounds"], ": ")?;
                self.line(format!("type {path}{}{of}", generics(&inner["generics"])?));
            }
            other => bail!("{path} is of the kind {other}"),
        }
        Ok(())
    }
}

fn trait_of(inner: &Value) -> Result<String> {
    let not = if inner["is_negative"] == true { "!" } else { "" };
    Ok(format!("{not}{}", super::signature::path(&inner["trait"])?))
}

/// What stands before an item that may grow.
fn open(item: &Value) -> &'static str {
    let attributes = item["attrs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is = attributes.iter().any(|attribute| attribute.to_string().contains("non_exhaustive"));
    if is { "#[non_exhaustive] " } else { "" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described() -> Value {
        let none = json!({"params": [], "where_predicates": []});
        json!({"root": 0, "format_version": 57, "index": {
            "0": {"name": "a", "inner": {"module": {"items": [7, 1, 2, 3]}}, "attrs": []},
            "1": {"name": null, "attrs": [], "inner":
                {"use": {"name": "B", "id": 4, "source": "b::B", "is_glob": false}}},
            "2": {"name": "f", "attrs": [], "inner": {"function": {
                "generics": none, "header": {"is_const": true, "is_unsafe": false},
                "sig": {"inputs": [["x", {"borrowed_ref": {"lifetime": null, "is_mutable": true,
                    "type": {"slice": {"primitive": "u8"}}}}]], "output": {"primitive": "bool"}}}}},
            "7": {"name": "b", "inner": {"module": {"items": [4]}}, "attrs": [], "id": 7},
            "4": {"name": "B", "id": 4, "attrs": ["non_exhaustive"], "inner": {"struct": {
                "generics": none, "kind": {"plain": {"fields": [5]}}, "impls": [6]}}},
            "5": {"name": "c", "inner": {"struct_field": {"tuple": [{"primitive": "i8"}]}}},
            "6": {"name": null, "inner": {"impl": {"is_synthetic": false, "blanket_impl": null,
                "trait": {"path": "std::clone::Clone", "args": null}, "generics": none,
                "for": {"resolved_path": {"path": "B", "args": null}}, "items": []}}},
        }})
    }

    #[test]
    fn items_stand_under_the_path_that_users_write_with_their_signature() {
        let items: Vec<String> = list(&described(), "a").expect("list").into_iter().collect();
        assert_eq!(
            items,
            [
                "#[non_exhaustive] struct a::B",
                "field a::B::c: (i8,)",
                "fn a::f(x: &mut [u8]) -> bool const",
                "impl Clone for B (a::B)",
                "use a::b::B = a::B",
            ]
        );
    }

    #[test]
    fn a_format_that_is_not_understood_is_an_error_with_its_version() {
        let mut described = described();
        described["index"]["5"]["inner"] = json!({"struct_field": {"quantum": 1}});
        let error = format!("{:#}", list(&described, "a").expect_err("there is no such type"));
        assert!(error.contains("57") && error.contains("quantum"), "{error}");
    }
}
