//! A Dag as a graph in the DOT language, which Graphviz draws.

use model::Dag;

/// Tasks and what they wait for.
pub fn dot(dag: &Dag) -> String {
    let mut out = format!(
        "digraph {} {{\n\tgraph [label={} labelloc=t rankdir=LR]\n",
        quoted(dag.dag_id.as_str()),
        quoted(dag.dag_id.as_str())
    );
    for task in dag.tasks() {
        let style = match (task.is_setup, task.is_teardown) {
            (true, _) => " style=\"rounded,filled,dashed\" fillcolor=white",
            (_, true) => " style=\"rounded,filled,dotted\" fillcolor=white",
            _ => " style=\"rounded,filled\" fillcolor=white",
        };
        let label = task.display_name.as_deref().unwrap_or(task.task_id.as_str());
        out.push_str(&format!(
            "\t{} [label={} shape=rectangle{style}]\n",
            quoted(task.task_id.as_str()),
            quoted(label)
        ));
    }
    for task in dag.tasks() {
        for below in &task.downstream {
            out.push_str(&format!(
                "\t{} -> {}\n",
                quoted(task.task_id.as_str()),
                quoted(dag.task(*below).task_id.as_str())
            ));
        }
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use model::timetable::Timetable;
    use model::{DagBuilder, Task};

    use super::*;

    #[test]
    fn tasks_are_nodes_and_dependencies_arrows() {
        let mut builder = DagBuilder::new("my \"dag\"", Timetable::Null);
        builder.task(Task::new("a")).task(Task::new("g.b")).edge("a", "g.b");
        let text = dot(&builder.build().unwrap());
        assert!(text.starts_with("digraph \"my \\\"dag\\\"\" {\n"), "{text}");
        assert!(text.contains("\t\"g.b\" [label=\"g.b\" shape=rectangle"), "{text}");
        assert!(text.ends_with("\t\"a\" -> \"g.b\"\n}\n"), "{text}");
    }
}
