//! The console blocks of a document: what a reader types, apart from what is printed.

/// One block.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Lines after `$ `: for anybody.
    pub user: Vec<String>,
    /// Lines after `# `: for root.
    pub root: Vec<String>,
}

/// All blocks marked `console`, in their order.
pub fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for line in document.lines() {
        match (&mut open, line) {
            (None, "```console") => open = Some(Block::default()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.user.extend(line.strip_prefix("$ ").map(str::to_owned));
                block.root.extend(line.strip_prefix("# ").map(str::to_owned));
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a console block is not closed");
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_commands_and_the_rest_is_not() {
        let text = "a\n```console\n$ one\nprinted\n# two\n```\n```json\n$ three\n```\n";
        assert_eq!(blocks(text), [Block { user: vec!["one".into()], root: vec!["two".into()] }]);
    }
}
