// SPDX-License-Identifier: GPL-2.0
/*
 * A driver whose fault a machine survives: it follows a null pointer in the context of the process that loads it. Unless
 * panic_on_oops is set, the kernel ends that process and goes on.
 */
#include <linux/module.h>

static int *volatile settings;

static int __init oops_init(void)
{
	return *settings;
}

module_init(oops_init);
MODULE_DESCRIPTION("Follows a null pointer while it is loaded");
MODULE_LICENSE("GPL");
