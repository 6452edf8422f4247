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
