# Text to tokens, once per corpus: the directory is named by the content, so all studies share it.


rule tokenize:
    output:
        **{
            f"validation_{domain.name}": f"{LAYOUT.corpus}/validation-{domain.name}.bin"
            for domain in STUDY.corpus.domains
        },
        manifest=f"{LAYOUT.corpus}/manifest.json",
        tokens=f"{LAYOUT.corpus}/train.bin",
        documents=f"{LAYOUT.corpus}/train_documents.npy",
        tokenizer=f"{LAYOUT.corpus}/tokenizer.json",
        files=f"{LAYOUT.corpus}/files.parquet",
        # The engine's cache wants a name for each file.
    log:
        f"logs/tokenize/{CORPUS_ID}.log",
    cache: True
    threads: 16
    resources:
        mem_mb=3000,
        runtime="4h",
    params:
        corpus=canonical_json(STUDY.corpus.model_dump(mode="json")),
        # The engine's cache knows params but no output names: without the identity it would hand out the tokens of a
        # text that was edited since.
        identity=CORPUS_ID,
    shell:
        "glidepath tokenize --corpus {params.corpus:q} --base . --output $(dirname {output.manifest})"
        " --workers {threads} > {log} 2>&1"
