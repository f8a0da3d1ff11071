/* A plugin of QEMU (its interface of version 1): prints how many instructions the program ran. */
#include <inttypes.h>
#include <stdio.h>

struct qemu_info;
struct block;
extern size_t qemu_plugin_tb_n_insns(const struct block *block);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translate)(uint64_t id, struct block *block));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct block *block, int operation, void *number, uint64_t more);
extern void qemu_plugin_register_atexit_cb(uint64_t id, void (*end)(uint64_t id, void *data), void *data);

enum { ADD = 0 };

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions;

static void translate(uint64_t id, struct block *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, &instructions, qemu_plugin_tb_n_insns(block));
}

static void end(uint64_t id, void *data)
{
    (void)id;
    (void)data;
    fprintf(stderr, "%" PRIu64 "\n", instructions);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int count,
                                                               char **options)
{
    (void)info;
    (void)count;
    (void)options;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    return 0;
}
