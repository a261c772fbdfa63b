//! Signatures in one line, from rustdoc's JSON. Types have the last part of their path only.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The only entry of an object: a kind, and what there is of it. Kinds without anything are
/// strings.
pub fn entry(value: &Value) -> Result<(&str, &Value)> {
    if let Some(kind) = value.as_str() {
        return Ok((kind, &Value::Null));
    }
    let object = value.as_object().with_context(|| format!("a kind, not {value}"))?;
    let (kind, inner) = object.iter().next().context("a kind")?;
    Ok((kind, inner))
}

/// The name of an item.
pub fn name(item: &Value) -> Result<&str> {
    text(item, "name")
}

fn text<'v>(value: &'v Value, key: &str) -> Result<&'v str> {
    value[key].as_str().with_context(|| format!("a {key} in {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> Result<&'v [Value]> {
    value[key].as_array().map(Vec::as_slice).with_context(|| format!("{key} in {value}"))
}

fn joined<'v>(
    values: impl IntoIterator<Item = &'v Value>,
    show: impl Fn(&Value) -> Result<String>,
    between: &str,
) -> Result<String> {
    let shown: Vec<String> = values.into_iter().map(show).collect::<Result<_>>()?;
    Ok(shown.join(between))
}

/// A path with its arguments.
pub fn path(value: &Value) -> Result<String> {
    let path = text(value, "path")?;
    let last = path.rsplit("::").next().unwrap_or(path);
    Ok(format!("{last}{}", arguments(&value["args"])?))
}

fn arguments(args: &Value) -> Result<String> {
    if args.is_null() {
        return Ok(String::new());
    }
    match entry(args)? {
        ("angle_bracketed", inner) => {
            let mut all = Vec::new();
            for argument in list(inner, "args")? {
                all.push(match entry(argument)? {
                    ("type", ty) => types(ty)?,
                    ("lifetime", lifetime) => lifetime.as_str().unwrap_or("'_").to_owned(),
                    ("const", constant) => text(constant, "expr")?.to_owned(),
                    (other, _) => other.to_owned(),
                });
            }
            for constraint in list(inner, "constraints")? {
                let is = match entry(&constraint["binding"])? {
                    ("equality", term) => format!(" = {}", term_of(term)?),
                    (_, of) => bounds(of, ": ")?,
                };
                all.push(format!("{}{is}", name(constraint)?));
            }
            Ok(if all.is_empty() { String::new() } else { format!("<{}>", all.join(", ")) })
        }
        ("parenthesized", inner) => {
            let output = &inner["output"];
            Ok(format!("({}){}", joined(list(inner, "inputs")?, types, ", ")?, result(output)?))
        }
        (other, _) => bail!("arguments of the kind {other}"),
    }
}

fn term_of(term: &Value) -> Result<String> {
    match entry(term)? {
        ("type", ty) => types(ty),
        (_, constant) => Ok(text(constant, "expr")?.to_owned()),
    }
}

fn result(output: &Value) -> Result<String> {
    if output.is_null() { Ok(String::new()) } else { Ok(format!(" -> {}", types(output)?)) }
}

/// A type.
pub fn types(value: &Value) -> Result<String> {
    let (kind, inner) = entry(value)?;
    let lifetime = |inner: &Value| {
        inner["lifetime"].as_str().map(|name| format!("{name} ")).unwrap_or_default()
    };
    Ok(match kind {
        "resolved_path" => path(inner)?,
        "generic" | "primitive" => inner.as_str().context("a name")?.to_owned(),
        "tuple" => {
            let parts = inner.as_array().context("a tuple")?;
            let comma = if parts.len() == 1 { "," } else { "" };
            format!("({}{comma})", joined(parts, types, ", ")?)
        }
        "slice" => format!("[{}]", types(inner)?),
        "array" => format!("[{}; {}]", types(&inner["type"])?, text(inner, "len")?),
        "borrowed_ref" => {
            let mutable = if inner["is_mutable"] == true { "mut " } else { "" };
            format!("&{}{mutable}{}", lifetime(inner), types(&inner["type"])?)
        }
        "raw_pointer" => {
            let mutable = if inner["is_mutable"] == true { "mut" } else { "const" };
            format!("*{mutable} {}", types(&inner["type"])?)
        }
        "impl_trait" => format!("impl {}", bounds(inner, "")?),
        "dyn_trait" => {
            let traits = joined(list(inner, "traits")?, |of| path(&of["trait"]), " + ")?;
            let bound = inner["lifetime"].as_str().map(|name| format!(" + {name}"));
            format!("dyn {traits}{}", bound.unwrap_or_default())
        }
        "qualified_path" => {
            let of = match &inner["trait"] {
                Value::Null => String::new(),
                of if of["path"] == "" => String::new(),
                of => format!(" as {}", path(of)?),
            };
            let own = types(&inner["self_type"])?;
            let own = if of.is_empty() { own } else { format!("<{own}{of}>") };
            format!("{own}::{}", name(inner)?)
        }
        "function_pointer" => {
            let signature = &inner["sig"];
            let inputs = joined(list(signature, "inputs")?, |input| types(&input[1]), ", ")?;
            format!("fn({inputs}){}", result(&signature["output"])?)
        }
        "infer" => "_".to_owned(),
        other => bail!("types of the kind {other}"),
    })
}

/// Bounds, behind `before` if there are any.
pub fn bounds(value: &Value, before: &str) -> Result<String> {
    let all = value.as_array().with_context(|| format!("bounds, not {value}"))?;
    if all.is_empty() {
        return Ok(String::new());
    }
    let one = |bound: &Value| match entry(bound)? {
        ("trait_bound", inner) => {
            let relaxed = if inner["modifier"] == "maybe" { "?" } else { "" };
            Ok(format!("{relaxed}{}", path(&inner["trait"])?))
        }
        ("outlives", lifetime) => Ok(lifetime.as_str().context("a lifetime")?.to_owned()),
        (other, _) => Ok(other.to_owned()),
    };
    Ok(format!("{before}{}", joined(all, one, " + ")?))
}

/// Generic parameters and what is required of them.
pub fn generics(value: &Value) -> Result<String> {
    let mut parameters = Vec::new();
    for parameter in list(value, "params")? {
        let (kind, inner) = entry(&parameter["kind"])?;
        let name = name(parameter)?;
        match kind {
            // `impl Trait` as an argument, which its type shows.
            "type" if inner["is_synthetic"] == true => {}
            "type" => parameters.push(format!("{name}{}", bounds(&inner["bounds"], ": ")?)),
            "const" => parameters.push(format!("const {name}: {}", types(&inner["type"])?)),
            "lifetime" => parameters.push(name.to_owned()),
            other => bail!("parameters of the kind {other}"),
        }
    }
    let mut text = String::new();
    if !parameters.is_empty() {
        text = format!("<{}>", parameters.join(", "));
    }
    let required = list(value, "where_predicates")?;
    if !required.is_empty() {
        let one = |predicate: &Value| match entry(predicate)? {
            ("bound_predicate", inner) => {
                Ok(format!("{}{}", types(&inner["type"])?, bounds(&inner["bounds"], ": ")?))
            }
            ("lifetime_predicate", inner) => {
                let outlives = list(inner, "outlives")?.iter().filter_map(Value::as_str);
                let outlives: Vec<&str> = outlives.collect();
                Ok(format!("{}: {}", text_of(inner, "lifetime"), outlives.join(" + ")))
            }
            (_, inner) => Ok(format!("{} = {}", types(&inner["lhs"])?, term_of(&inner["rhs"])?)),
        };
        text += &format!(" where {}", joined(required, one, ", ")?);
    }
    Ok(text)
}

fn text_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("'_")
}

/// Parameters and result of a function, and what else there is to it.
pub fn function(inner: &Value) -> Result<String> {
    let signature = &inner["sig"];
    let input = |input: &Value| {
        let name = input[0].as_str().context("a parameter")?;
        let ty = types(&input[1])?;
        Ok(match ty.strip_suffix("Self") {
            Some(how) if name == "self" => format!("{how}self"),
            _ => format!("{name}: {ty}"),
        })
    };
    let inputs = joined(list(signature, "inputs")?, input, ", ")?;
    let mut text =
        format!("{}({inputs}){}", generics(&inner["generics"])?, result(&signature["output"])?);
    for word in ["const", "unsafe", "async"] {
        if inner["header"][format!("is_{word}")] == true {
            text += &format!(" {word}");
        }
    }
    Ok(text)
}
