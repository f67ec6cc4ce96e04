"""From text to memory-mapped tokens: sources, de-duplication and split, tokenizer, shards, store."""
