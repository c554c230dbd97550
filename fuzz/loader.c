// Runs in a guest: loads the programs that come by standard input, answers each by standard output.
//
// The input is the number of maps and these (`map_row`), then programs (`row`, each followed by
// its instructions). The maps get the descriptors FIRST_FD and up. An answer is a `verdict` and
// the end of the verifier's log, which is asked for only where the verdict is not the expected one.
// Built by loader.py.
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct map_row {
	uint32_t type, key_size, value_size, max_entries, flags;
};

struct row {
	uint32_t type, attach_type, target, slots, expected;
};

struct verdict {
	uint32_t taken, bytes;
};

static char log_text[1 << 20];
enum { FIRST_FD = 101, TAIL = 4096, MOST_SLOTS = 1 << 20 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static void make_map(int number)
{
	struct map_row row;
	if (fread(&row, sizeof(row), 1, stdin) != 1)
		die("reading a map");
	union bpf_attr attr;
	memset(&attr, 0, sizeof(attr));
	attr.map_type = row.type;
	attr.key_size = row.key_size;
	attr.value_size = row.value_size;
	attr.max_entries = row.max_entries;
	attr.map_flags = row.flags;
	int fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0 || dup2(fd, FIRST_FD + number) < 0)
		die("making a map");
	close(fd);
}

static int load(const struct row *row, const uint64_t *insns, int log_level)
{
	union bpf_attr attr;
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = row->type;
	attr.expected_attach_type = row->attach_type;
	attr.attach_btf_id = row->target;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = row->slots;
	attr.license = (uintptr_t)"GPL";
	if (log_level) {
		attr.log_level = log_level;
		attr.log_buf = (uintptr_t)log_text;
		attr.log_size = sizeof(log_text);
	}
	int fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void answer(const struct row *row, const uint64_t *insns)
{
	struct verdict verdict = { load(row, insns, 0), 0 };
	const char *tail = log_text;
	log_text[0] = 0;
	if (!verdict.taken && row->expected) {
		load(row, insns, 1);
		size_t length = strnlen(log_text, sizeof(log_text));
		verdict.bytes = length < TAIL ? length : TAIL;
		tail = log_text + length - verdict.bytes;
	}
	if (fwrite(&verdict, sizeof(verdict), 1, stdout) != 1 ||
	    fwrite(tail, 1, verdict.bytes, stdout) != verdict.bytes)
		die("answering");
}

int main(void)
{
	uint32_t maps;
	struct row row;
	uint64_t *insns = calloc(MOST_SLOTS, sizeof(*insns));
	if (!insns || fread(&maps, sizeof(maps), 1, stdin) != 1)
		die("starting");
	for (uint32_t number = 0; number < maps; number++)
		make_map(number);
	for (int count = 1; fread(&row, sizeof(row), 1, stdin) == 1; count++) {
		if (row.slots > MOST_SLOTS || fread(insns, 8, row.slots, stdin) != row.slots)
			die("reading a program");
		answer(&row, insns);
		if (count % 64 == 0)
			fflush(stdout);
	}
	return fflush(stdout) ? 1 : 0;
}
