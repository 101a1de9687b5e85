// SPDX-License-Identifier: GPL-2.0
/*
 * A vendor's driver as machines in the field have them: it matches what happens against rules from content files
 * ("channels") that are updated far more often than the driver, and it trusts them. A rule names one of the driver's
 * inputs by number; nobody compares the number with how many inputs there are.
 *
 * The rules are evaluated from a timer, so the bad access happens in interrupt context and panics whatever
 * panic_on_oops says. PREFIX and CHANNELS come from the command line: the test makes up names for every run.
 */
#include <linux/fs.h>
#include <linux/kernel_read_file.h>
#include <linux/limits.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>

#define PASTE(a, b) a##b
#define NAME(a, b) PASTE(a, b)
#define MATCH_RULE NAME(PREFIX, _match_rule)

#define CHANNEL_MAGIC 0x4c4e4843 /* "CHNL" */
#define CHANNEL_BYTES_MAX 65536
#define N_INPUTS 20

struct channel_header {
	__le32 magic, n_rules;
};

struct channel_rule {
	__le32 input, wanted;
};

struct channel_names {
	struct dir_context context;
	unsigned int n;
	char name[8][NAME_MAX + 1];
};

static u64 *inputs;
static struct channel_rule *rules;
static unsigned int n_rules;
static struct timer_list evaluation;

/* Not static and never inlined: the name that a crash record shows. */
bool MATCH_RULE(const struct channel_rule *rule);
noinline bool MATCH_RULE(const struct channel_rule *rule)
{
	return inputs[le32_to_cpu(rule->input)] == le32_to_cpu(rule->wanted);
}

static void evaluate(struct timer_list *timer)
{
	unsigned int matched = 0;

	for (unsigned int i = 0; i < n_rules; i++)
		matched += MATCH_RULE(&rules[i]);
	pr_info("%u of %u rules match\n", matched, n_rules);
}

static bool add_name(struct dir_context *context, const char *name, int length, loff_t offset, u64 ino,
		     unsigned int type)
{
	struct channel_names *names = container_of(context, struct channel_names, context);

	if (length > 4 && length <= NAME_MAX && !memcmp(name + length - 4, ".bin", 4) &&
	    names->n < ARRAY_SIZE(names->name))
		memcpy(names->name[names->n++], name, length);
	return true;
}

static void add_rules(const char *path)
{
	const struct channel_header *header;
	struct channel_rule *grown;
	void *data = NULL;
	unsigned int n;
	ssize_t size = kernel_read_file_from_path(path, 0, &data, CHANNEL_BYTES_MAX, NULL, READING_UNKNOWN);

	if (size < 0)
		return;
	header = data;
	if (size >= sizeof(*header) && le32_to_cpu(header->magic) == CHANNEL_MAGIC) {
		n = min_t(size_t, le32_to_cpu(header->n_rules), (size - sizeof(*header)) / sizeof(*rules));
		grown = krealloc(rules, (n_rules + n) * sizeof(*rules), GFP_KERNEL);
		if (grown) {
			rules = grown;
			memcpy(rules + n_rules, header + 1, n * sizeof(*rules));
			n_rules += n;
		}
	}
	vfree(data);
}

static void read_channels(struct channel_names *names, char *path)
{
	struct file *folder = filp_open(CHANNELS, O_RDONLY | O_DIRECTORY, 0);

	if (IS_ERR(folder))
		return;
	names->context.actor = add_name;
	iterate_dir(folder, &names->context);
	fput(folder);
	for (unsigned int i = 0; i < names->n; i++) {
		snprintf(path, PATH_MAX, "%s/%s", CHANNELS, names->name[i]);
		add_rules(path);
	}
}

static int __init driver_init(void)
{
	struct channel_names *names = kzalloc(sizeof(*names), GFP_KERNEL);
	char *path = kmalloc(PATH_MAX, GFP_KERNEL);

	inputs = kcalloc(N_INPUTS, sizeof(*inputs), GFP_KERNEL);
	if (names && path && inputs)
		read_channels(names, path);
	kfree(path);
	kfree(names);
	if (!inputs)
		return -ENOMEM;
	timer_setup(&evaluation, evaluate, 0);
	mod_timer(&evaluation, jiffies + HZ);
	return 0;
}

static void __exit driver_exit(void)
{
	del_timer_sync(&evaluation);
	kfree(rules);
	kfree(inputs);
}

module_init(driver_init);
module_exit(driver_exit);
MODULE_DESCRIPTION("Matches rules from content files");
MODULE_LICENSE("GPL");
