//! Random calls of window functions, with all kinds of frames.

use rand::Rng;

use super::expression::Expr;
use super::generate::{Generator, Scope};
use super::shapes::windows;
use super::ty::Ty;

impl Generator<'_> {
    /// A call of a window function over the columns of a scope. Rows that are equal in all columns are as good as each other for one
    /// that goes by their places; which of them gets what of two such functions, nobody can say.
    pub(super) fn window(&mut self, ty: Ty, scope: &Scope) -> Option<Expr> {
        let inside = Scope { columns: scope.columns.clone(), ..Scope::default() };
        let (plain, ordered) = windows(ty);
        let deciding = !self.decided && (plain.is_empty() || self.often(50));
        if plain.is_empty() && !deciding {
            return None;
        }
        self.decided |= deciding;
        let of = if deciding { ordered } else { plain };
        let (text, args) = of[self.rng.random_range(0..of.len())];
        let mut args: Vec<Expr> = args.iter().map(|ty| self.expr(*ty, &inside, 1, 0)).collect();
        let aggregate = ["sum", "min", "max", "count", "bool_or", "array_agg", "jsonb_agg"];
        let filtered = aggregate.iter().any(|name| text.starts_with(name)) && self.often(15);
        if filtered {
            args.push(self.expr(Ty::Bool, &inside, 1, 0));
        }
        let text = if filtered { format!("{text} FILTER (WHERE ?)") } else { text.to_owned() };
        let mut over = String::new();
        if let Some(column) = self.pick(&scope.columns).filter(|_| self.often(60)) {
            over.push_str("PARTITION BY ? ");
            args.push(column);
        }
        if deciding && !scope.columns.is_empty() {
            let all: Vec<String> = scope.columns.iter().map(ToString::to_string).collect();
            over.push_str(&format!("ORDER BY {}", all.join(", ")));
            let units = ["ROWS", "GROUPS"][self.rng.random_range(0..2)];
            over.push_str(&self.frame(units, Some("1")));
        } else if let Some(column) = self.pick(&scope.columns).filter(|_| self.often(70)) {
            let distance = column.ty.distance();
            over.push_str("ORDER BY ?");
            over.push_str(["", " DESC", " NULLS FIRST"][self.rng.random_range(0..3)]);
            args.push(column);
            // Of rows that are equal in the order, ROWS would take some.
            let frame = if self.often(50) { self.frame("RANGE", distance) } else { self.frame("GROUPS", Some("1")) };
            over.push_str(&frame);
        }
        if self.often(20) {
            let of_call = text.matches('?').count();
            let name = self.alias('w');
            let window = Expr::of(&over, args.split_off(of_call), ty);
            self.windows.push((name.clone(), window));
            return Some(Expr::of(&format!("{text} OVER {name}"), args, ty));
        }
        Some(Expr::of(&format!("{text} OVER ({over})"), args, ty))
    }

    /// A frame, or none; with a distance where its units can go by one.
    fn frame(&mut self, units: &str, distance: Option<&str>) -> String {
        if self.often(35) {
            return String::new();
        }
        let bound = |generator: &mut Self, words: [&str; 3]| match distance {
            Some(distance) if generator.often(50) => {
                format!("{distance} {}", words[generator.rng.random_range(1..3)])
            }
            _ => words[0].to_owned(),
        };
        let start = match self.rng.random_range(0..4) {
            0 => "CURRENT ROW".to_owned(),
            1 => bound(self, ["CURRENT ROW", "FOLLOWING", "FOLLOWING"]),
            _ => bound(self, ["UNBOUNDED PRECEDING", "PRECEDING", "PRECEDING"]),
        };
        let end = match self.rng.random_range(0..4) {
            0 if start.ends_with("UNBOUNDED PRECEDING") => bound(self, ["CURRENT ROW", "PRECEDING", "FOLLOWING"]),
            0 | 1 if !start.ends_with("FOLLOWING") => "CURRENT ROW".to_owned(),
            _ => bound(self, ["UNBOUNDED FOLLOWING", "FOLLOWING", "FOLLOWING"]),
        };
        let exclude = ["", "", "", " EXCLUDE CURRENT ROW", " EXCLUDE GROUP", " EXCLUDE TIES", " EXCLUDE NO OTHERS"];
        format!(" {units} BETWEEN {start} AND {end}{}", exclude[self.rng.random_range(0..7)])
    }
}
