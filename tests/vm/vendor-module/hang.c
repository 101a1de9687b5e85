// SPDX-License-Identifier: GPL-2.0
/* A driver that waits, with interrupts off, for a device that never answers. */
#include <linux/irqflags.h>
#include <linux/module.h>

static bool has_answered;

static int __init driver_init(void)
{
	pr_emerg("waiting for the device\n");
	local_irq_disable();
	while (!READ_ONCE(has_answered))
		cpu_relax();
	local_irq_enable();
	return 0;
}

module_init(driver_init);
MODULE_DESCRIPTION("Waits for a device");
MODULE_LICENSE("GPL");
