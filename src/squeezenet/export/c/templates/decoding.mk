.PHONY: decoding
# Also counts the instructions that decoding takes.
decoding: build/counting
	$(RUN) build/counting > build/counted.txt
	@grep -v '^logit ' build/counted.txt

build/counting: $(OBJECTS) build/board/decoding.o @SCRIPT@
	$(CC) @LINK_FLAGS@ $(OBJECTS) build/board/decoding.o -Wl,--wrap=sqz_block_decoded $(LINKER) -o $@
