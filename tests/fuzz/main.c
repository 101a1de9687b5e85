/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Replays a corpus through a fuzz target: each argument is a file. With clang -fsanitize=fuzzer this file is left out. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	FILE *f = fopen(path, "rbe");
	uint8_t *data = malloc(1 << 20);
	size_t size;

	if (!f || !data) {
		fprintf(stderr, "replaying '%s' failed\n", path);
		free(data);
		if (f)
			fclose(f);
		return 1;
	}
	size = fread(data, 1, 1 << 20, f);
	fclose(f);
	(void)LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	return failed;
}
