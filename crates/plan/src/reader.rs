//! PostgreSQL's node trees (`pg_node_tree`) as text, read into a generic tree.
//!
//! `{NAME :field value …}` is a node, `( … )` a list, `<>` nothing, anything else a token; backslashes keep the next
//! character; a constant's value is its length and its bytes in memory, `4 [ 5 0 0 0 0 0 0 0 ]`. Fields are looked up by
//! name, so that those that come and go between PostgreSQL's versions do not matter.

use crate::PlanError;

/// How deep a tree may be: a level of operators or calls is two of these, one of CASE or set operations one, a subquery four to eight. Planning, and
/// the expressions and operators that come of it, go as deep in the stacks of the daemon's threads, which have room for
/// several times as much.
const DEPTH: usize = 2_500;

/// A value in a node tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    /// `<>`.
    Nothing,
    /// A token without its backslashes.
    Token(String),
    /// A list. Lists of numbers begin with their kind (`i`, `o`, `b`) as a token.
    List(Vec<Tree>),
    /// A constant's bytes.
    Bytes(Vec<u8>),
    /// A node.
    Node(Node),
}

/// A node: its kind and its fields in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: String,
    fields: Vec<(String, Tree)>,
}

impl Node {
    /// A field; nothing when it is not there.
    pub(crate) fn get(&self, name: &str) -> &Tree {
        self.fields.iter().find(|(n, _)| n == name).map_or(&Tree::Nothing, |(_, value)| value)
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &Tree)> {
        self.fields.iter().map(|(n, v)| (n.as_str(), v))
    }

    pub(crate) fn number(&self, name: &str) -> Result<i64, PlanError> {
        match self.get(name) {
            Tree::Token(text) => text.parse().map_err(|_| self.odd(name)),
            _ => Err(self.odd(name)),
        }
    }

    pub(crate) fn oid(&self, name: &str) -> Result<types::Oid, PlanError> {
        u32::try_from(self.number(name)?).map_err(|_| self.odd(name))
    }

    pub(crate) fn index(&self, name: &str) -> Result<usize, PlanError> {
        usize::try_from(self.number(name)?).map_err(|_| self.odd(name))
    }

    /// False when it is not there.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Tree::Token(t) if t == "true")
    }

    /// Empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Tree::Token(text) => text,
            _ => "",
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !matches!(self.get(name), Tree::Nothing)
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node, PlanError> {
        self.get(name).node().ok_or_else(|| self.odd(name))
    }

    /// The nodes of a list; none when it is not there.
    pub(crate) fn nodes(&self, name: &str) -> Vec<&Node> {
        match self.get(name) {
            Tree::List(items) => items.iter().filter_map(Tree::node).collect(),
            _ => Vec::new(),
        }
    }

    /// A list whose items may be missing (`<>`); none when it is not there.
    pub(crate) fn optional_nodes(&self, name: &str) -> Vec<Option<&Node>> {
        match self.get(name) {
            Tree::List(items) => items.iter().map(Tree::node).collect(),
            _ => Vec::new(),
        }
    }

    /// The identifiers of a list of them, `(o 20 25)`; none when it is not there.
    pub(crate) fn oids(&self, name: &str) -> Vec<types::Oid> {
        self.get(name).oids()
    }

    /// The same as it stands `by` levels further out.
    pub(crate) fn lowered(&self, by: i64) -> Self {
        let value = |name: &str, value: &Tree| match (name, value) {
            ("varlevelsup" | "agglevelsup", Tree::Token(text)) => {
                Tree::Token(text.parse::<i64>().map_or_else(|_| text.clone(), |up| (up - by).to_string()))
            }
            _ => value.lowered(by),
        };
        let fields = self.fields.iter().map(|(n, v)| (n.clone(), value(n, v))).collect();
        Self { kind: self.kind.clone(), fields }
    }

    pub(crate) fn odd(&self, field: &str) -> PlanError {
        PlanError::Tree(format!("{} has no usable {field}", self.kind))
    }
}

impl Tree {
    pub(crate) fn node(&self) -> Option<&Node> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The numbers of a list of identifiers.
    pub(crate) fn oids(&self) -> Vec<types::Oid> {
        match self {
            Self::List(items) => items
                .iter()
                .filter_map(|item| match item {
                    Self::Token(text) => text.parse().ok(),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    fn lowered(&self, by: i64) -> Self {
        match self {
            Self::Node(node) => Self::Node(node.lowered(by)),
            Self::List(items) => Self::List(items.iter().map(|item| item.lowered(by)).collect()),
            other => other.clone(),
        }
    }

    /// The numbers of a list of them, `(i 20 -1)`; none when it is not there.
    pub(crate) fn numbers(&self) -> Vec<i64> {
        match self {
            Self::List(items) => {
                let number = |item: &Self| match item {
                    Self::Token(text) => text.parse().ok(),
                    _ => None,
                };
                items.iter().filter_map(number).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The texts of a list of them; none when it is not there.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::List(items) => {
                fn text(item: &Tree) -> Option<&str> {
                    match item {
                        Tree::Token(text) => Some(text),
                        _ => None,
                    }
                }
                items.iter().filter_map(text).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Calls `f` on every node within, this one included.
    pub(crate) fn walk(&self, f: &mut dyn FnMut(&Node)) {
        match self {
            Self::Node(node) => {
                f(node);
                node.fields.iter().for_each(|(_, value)| value.walk(f));
            }
            Self::List(items) => items.iter().for_each(|item| item.walk(f)),
            Self::Nothing | Self::Token(_) | Self::Bytes(_) => {}
        }
    }

    /// Reads a whole text.
    pub(crate) fn read(text: &str) -> Result<Self, PlanError> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0, depth: 0 };
        let tree = reader.value()?;
        Ok(tree)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Values around the one that is read.
    depth: usize,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn damaged(&self) -> PlanError {
        PlanError::Tree(format!("it cannot be read at byte {}", self.at))
    }

    fn value(&mut self) -> Result<Tree, PlanError> {
        if self.depth == DEPTH {
            return Err(PlanError::too_deep(
                "operators, calls and set operations within each other go to about a thousand levels",
            ));
        }
        self.depth += 1;
        let value = self.shallow();
        self.depth -= 1;
        value
    }

    fn shallow(&mut self) -> Result<Tree, PlanError> {
        match self.peek().ok_or_else(|| self.damaged())? {
            b'{' => self.object(),
            b'(' => self.list(b')'),
            b')' | b'}' => Err(self.damaged()),
            _ => {
                let from = self.at;
                let token = self.token();
                // A name that is `<>` has a backslash before it.
                let nothing = self.bytes.get(from..self.at) == Some(b"<>".as_slice());
                Ok(if nothing { Tree::Nothing } else { Tree::Token(token) })
            }
        }
    }

    fn list(&mut self, end: u8) -> Result<Tree, PlanError> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek().ok_or_else(|| self.damaged())? != end {
            items.push(self.value()?);
        }
        self.at += 1;
        Ok(Tree::List(items))
    }

    fn object(&mut self) -> Result<Tree, PlanError> {
        self.at += 1;
        let kind = self.token();
        let mut fields = Vec::new();
        loop {
            match self.peek().ok_or_else(|| self.damaged())? {
                b'}' => {
                    self.at += 1;
                    return Ok(Tree::Node(Node { kind, fields }));
                }
                b':' => {
                    let name = self.token()[1..].to_owned();
                    let value = self.field()?;
                    fields.push((name, value));
                }
                _ => return Err(self.damaged()),
            }
        }
    }

    /// One value, or a constant's length and bytes, or several tokens.
    fn field(&mut self) -> Result<Tree, PlanError> {
        let first = self.value()?;
        match self.peek() {
            Some(b'[') => {
                self.at += 1;
                let mut bytes = Vec::new();
                while self.peek().ok_or_else(|| self.damaged())? != b']' {
                    let number: i16 = self.token().parse().map_err(|_| self.damaged())?;
                    // Printed as C's char, which may be signed.
                    bytes.push((number & 0xFF) as u8);
                }
                self.at += 1;
                if let Tree::Token(length) = &first {
                    let length: usize = length.parse().map_err(|_| self.damaged())?;
                    // A value passed in a register is printed with all the register's bytes.
                    bytes.truncate(length.max(8));
                }
                Ok(Tree::Bytes(bytes))
            }
            Some(b':' | b'}') | None => Ok(first),
            Some(_) => {
                let mut items = vec![first];
                while !matches!(self.peek(), Some(b':' | b'}') | None) {
                    items.push(self.value()?);
                }
                Ok(Tree::List(items))
            }
        }
    }

    /// Up to white space or a bracket that no backslash stands before. Texts in lists stand in quotes, in which quotes
    /// are not marked: only the first and the last one are theirs.
    fn token(&mut self) -> String {
        self.peek();
        let from = self.at;
        let mut out = Vec::new();
        let mut ends_in_quote = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\\' => {
                    out.extend(self.bytes.get(self.at + 1));
                    self.at += 2;
                    ends_in_quote = false;
                    continue;
                }
                b'(' | b')' | b'{' | b'}' => break,
                _ if byte.is_ascii_whitespace() => break,
                _ => out.push(byte),
            }
            ends_in_quote = byte == b'"';
            self.at += 1;
        }
        if self.bytes.get(from) == Some(&b'"') && ends_in_quote && out.len() > 1 {
            out.pop();
            out.remove(0);
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_lists_tokens_and_constants_are_read() {
        let text = r#"({Q :name a\ b :none <> :list (i 1 2) :names ("x\ y" "z"" "a"b" "\(") :odd \<> :c {CONST :constvalue 4 [ 5 0 0 -1 0 0 0 0 ]} :empty ""})"#;
        let Tree::List(items) = Tree::read(text).unwrap() else { panic!() };
        let q = items[0].node().unwrap();
        assert_eq!((q.kind.as_str(), q.text("name"), q.has("none")), ("Q", "a b", false));
        assert_eq!(q.get("names"), &Tree::List(["x y", "z\"", "a\"b", "("].map(|t| Tree::Token(t.into())).to_vec()));
        assert_eq!(q.node("c").unwrap().get("constvalue"), &Tree::Bytes(vec![5, 0, 0, 255, 0, 0, 0, 0]));
        assert_eq!((q.text("empty"), q.text("odd")), ("", "<>"));
    }

    #[test]
    fn damaged_text_is_an_error() {
        for text in ["", "{A", "(a", "{A :b}", "{A b}", ")"] {
            assert!(Tree::read(text).is_err(), "{text}");
        }
    }
}
