# What recovery costs beside other ways; docs/performance.md. BENCH="--only images --rounds 1" measures less.
bench: all $(B)/tests/tuf-client
	tests/deps.sh bench
	/usr/bin/python3 tests/bench/bench.py -B $(B) $(BENCH)
.PHONY: bench
