//! Making a case that fails smaller: parts are taken out one by one, as long as it still fails.

use super::expression::{Arg, Expr};
use super::query::{Body, From, Query, Select};

/// How often a case is tried again at most.
const MOST_TRIALS: usize = 600;

/// The smallest query found for which `fails` is still true.
pub async fn shrink(query: Query, mut fails: impl AsyncFnMut(&Query) -> bool) -> Query {
    let mut smallest = query;
    let mut trials = 0;
    loop {
        let length = smallest.to_string().len();
        let mut smaller: Vec<(usize, Query)> =
            smallest.smaller().into_iter().map(|q| (q.to_string().len(), q)).filter(|(l, _)| *l < length).collect();
        smaller.sort_by_key(|(length, _)| *length);
        let mut found = None;
        for (_, candidate) in smaller {
            trials += 1;
            if trials > MOST_TRIALS {
                return smallest;
            }
            if fails(&candidate).await {
                found = Some(candidate);
                break;
            }
        }
        match found {
            Some(candidate) => smallest = candidate,
            None => return smallest,
        }
    }
}

/// The shortest list found for which `fails` is still true: halves are left out first, then single items.
pub async fn fewer<T: Clone>(list: Vec<T>, mut fails: impl AsyncFnMut(&[T]) -> bool) -> Vec<T> {
    let mut list = list;
    let mut size = list.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < list.len() {
            let without: Vec<T> = list.iter().take(at).chain(list.iter().skip(at + size)).cloned().collect();
            if fails(&without).await {
                list = without;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    list
}

impl Expr {
    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.is_leaf() {
            return all;
        }
        all.push(Self::plain(self.ty.simplest().into(), self.ty));
        all.push(Self::plain(format!("NULL::{}", self.ty.sql()), self.ty));
        for (i, arg) in self.args.iter().enumerate() {
            let with = |arg: Arg| {
                let mut args = self.args.clone();
                args[i] = arg;
                Self { args, ..self.clone() }
            };
            match arg {
                Arg::Expr(expr) => {
                    if expr.ty == self.ty {
                        all.push(expr.clone());
                    }
                    all.extend(expr.smaller().into_iter().map(|e| with(Arg::Expr(e))));
                }
                Arg::Query(query) => {
                    all.extend(query.smaller().into_iter().map(|q| with(Arg::Query(Box::new(q)))));
                }
            }
        }
        all
    }

    fn queries(&self) -> Vec<Query> {
        let of = |arg: &Arg| match arg {
            Arg::Expr(expr) => expr.queries(),
            Arg::Query(query) => vec![query.as_ref().clone()],
        };
        self.args.iter().flat_map(of).collect()
    }
}

fn each<T: Clone>(items: &[T], smaller: impl Fn(&T) -> Vec<T>) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    for (i, item) in items.iter().enumerate() {
        for one in smaller(item) {
            let mut items = items.to_vec();
            items[i] = one;
            all.push(items);
        }
    }
    all
}

fn without<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    (0..items.len())
        .map(|i| items.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, t)| t.clone()).collect())
        .collect()
}

impl Query {
    /// Queries with one part less; some of them are none that PostgreSQL takes.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.limit.is_some() {
            all.push(Self { limit: None, ..self.clone() });
        }
        for with in without(&self.with) {
            all.push(Self { with, ..self.clone() });
        }
        for (i, item) in self.with.iter().enumerate() {
            all.push(item.query.clone());
            for query in item.query.smaller() {
                let mut with = self.with.clone();
                with[i].query = query;
                all.push(Self { with, ..self.clone() });
            }
        }
        let body = |body: Body| Self { body, ..self.clone() };
        match &self.body {
            Body::Select(select) => {
                all.extend(select.queries());
                all.extend(select.smaller().into_iter().map(|s| body(Body::Select(Box::new(s)))));
            }
            Body::Set(left, word, right) => {
                all.extend([left.as_ref().clone(), right.as_ref().clone()]);
                let (l, r) = (|| left.clone(), || right.clone());
                all.extend(left.smaller().into_iter().map(|q| body(Body::Set(Box::new(q), word, r()))));
                all.extend(right.smaller().into_iter().map(|q| body(Body::Set(l(), word, Box::new(q)))));
            }
            Body::Values(rows) => all.extend(without(rows).into_iter().map(|rows| body(Body::Values(rows)))),
        }
        all
    }
}

impl Select {
    fn queries(&self) -> Vec<Query> {
        let mut all: Vec<Query> = self.from.iter().flat_map(From::queries).collect();
        all.extend(self.targets.iter().chain(&self.filter).chain(&self.having).flat_map(Expr::queries));
        all
    }

    fn smaller(&self) -> Vec<Self> {
        let this = || self.clone();
        let mut all = Vec::new();
        if !self.distinct.is_empty() {
            all.push(Self { distinct: String::new(), order: String::new(), ..this() });
        }
        if let Some(group) = &self.group {
            all.push(Self { group: None, ..this() });
            let of = |items, word| Some(super::query::Group { items, word });
            for items in without(&group.items) {
                all.push(Self { group: of(items, group.word), ..this() });
            }
            if !group.word.is_empty() {
                all.push(Self { group: of(group.items.clone(), ""), ..this() });
            }
        }
        all.extend(without(&self.windows).into_iter().map(|windows| Self { windows, ..this() }));
        for from in without(&self.from).into_iter().chain(each(&self.from, From::smaller)) {
            all.push(Self { from, ..this() });
        }
        if self.targets.len() > 1 {
            all.extend(without(&self.targets).into_iter().map(|targets| Self { targets, ..this() }));
        }
        all.extend(each(&self.targets, Expr::smaller).into_iter().map(|targets| Self { targets, ..this() }));
        if let Some(filter) = &self.filter {
            all.push(Self { filter: None, ..this() });
            all.extend(filter.smaller().into_iter().map(|e| Self { filter: Some(e), ..this() }));
        }
        if let Some(having) = &self.having {
            all.push(Self { having: None, ..this() });
            all.extend(having.smaller().into_iter().map(|e| Self { having: Some(e), ..this() }));
        }
        all
    }
}

impl From {
    fn queries(&self) -> Vec<Query> {
        match self {
            Self::Sub(_, query, _) => vec![query.as_ref().clone()],
            Self::Join(left, _, right, _) => left.queries().into_iter().chain(right.queries()).collect(),
            Self::Named(..) | Self::Function(..) | Self::Values(..) => Vec::new(),
        }
    }

    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Named(..) | Self::Function(..) => Vec::new(),
            Self::Values(rows, alias) => {
                without(rows).into_iter().map(|rows| Self::Values(rows, alias.clone())).collect()
            }
            Self::Sub(lateral, query, alias) => {
                query.smaller().into_iter().map(|q| Self::Sub(lateral, Box::new(q), alias.clone())).collect()
            }
            Self::Join(left, words, right, on) => {
                let mut all = vec![left.as_ref().clone(), right.as_ref().clone()];
                let join = |l: Self, r: Self, on: Option<Expr>| Self::Join(Box::new(l), words, Box::new(r), on);
                let (l, r) = (|| left.as_ref().clone(), || right.as_ref().clone());
                all.extend(left.smaller().into_iter().map(|s| join(s, r(), on.clone())));
                all.extend(right.smaller().into_iter().map(|s| join(l(), s, on.clone())));
                if let Some(on) = on {
                    all.extend(on.smaller().into_iter().map(|e| join(l(), r(), Some(e))));
                }
                all
            }
        }
    }
}
