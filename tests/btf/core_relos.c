/* Every kind of CO-RE relocation, against types that any kernel has. Some exist only here. */

#define FIELD(kind, field) __builtin_preserve_field_info(field, kind)
#define TYPE(kind, type) __builtin_preserve_type_info(*(type *)0, kind)
#define LOCAL_ID(type) __builtin_btf_type_id(*(type *)0, 0)
#define TARGET_ID(type) __builtin_btf_type_id(*(type *)0, 1)
#define ENUMERATOR(kind, enumeration, name) \
	__builtin_preserve_enum_value(*(typeof(enumeration) *)name, kind)
#define LAID_OUT __attribute__((preserve_access_index))

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

struct list_head {
	struct list_head *next, *prev;
} LAID_OUT;

struct net_device {
	char name[16];
	u32 ifindex;
} LAID_OUT;

struct sk_buff {
	u32 len;
	u32 data_len;
	struct net_device *dev;
	u8 pkt_type : 3;
	u8 cloned : 1;
	u8 *data;
} LAID_OUT;

struct sk_buff___gone {
	int no_such_field;
} LAID_OUT;

struct task_struct {
	int pid;
	u64 start_time;
	char comm[16];
	struct task_struct *group_leader;
	struct list_head tasks;
	unsigned in_execve : 1;
} LAID_OUT;

struct task_struct___narrow {
	u32 start_time;
} LAID_OUT;

struct no_such_struct {
	int x;
} LAID_OUT;

struct list_head___longer {
	struct list_head *next, *prev, *third;
} LAID_OUT;

typedef struct {
	int counter;
} atomic_t;

typedef int (*initcall_t)(void);

enum pid_type { PIDTYPE_PID, PIDTYPE_TGID = 7, PIDTYPE_SID = 9, PIDTYPE_NONE };
enum zone_stat_item___mine { NR_FREE_PAGES___mine = 55 };

volatile u64 out;

__attribute__((section("raw_tp"))) int core(u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct task_struct *task = (void *)ctx[1];
	struct sk_buff___gone *gone = (void *)ctx[0];

	out = FIELD(0, skb->len);
	out = FIELD(0, skb->dev->ifindex);
	out = FIELD(0, task->comm[3]);
	out = FIELD(0, task->tasks.prev);
	out = FIELD(1, task->comm);
	out = FIELD(1, skb->data);
	out = FIELD(0, skb->cloned);
	out = FIELD(1, skb->cloned);
	out = FIELD(3, skb->cloned);
	out = FIELD(4, skb->cloned);
	out = FIELD(5, skb->cloned);
	out = FIELD(4, skb->pkt_type);
	out = FIELD(5, skb->pkt_type);
	out = FIELD(4, task->in_execve);
	out = FIELD(3, task->pid);
	out = FIELD(3, task->start_time);
	out = FIELD(4, task->pid);
	out = FIELD(5, task->pid);
	out = FIELD(2, task->comm);
	out = FIELD(2, gone->no_such_field);
	out = TYPE(0, struct sk_buff);
	out = TYPE(0, struct no_such_struct);
	out = TYPE(0, atomic_t);
	out = TYPE(0, initcall_t);
	out = TYPE(1, struct sk_buff);
	out = TYPE(1, struct no_such_struct);
#if __clang_major__ >= 15
	out = TYPE(2, struct list_head);
	out = TYPE(2, struct list_head___longer);
	out = TYPE(2, enum pid_type);
	out = TYPE(2, atomic_t);
#endif
	out = LOCAL_ID(struct sk_buff);
	out = TARGET_ID(struct sk_buff);
	out = TARGET_ID(struct no_such_struct);
	out = ENUMERATOR(0, enum pid_type, PIDTYPE_SID);
	out = ENUMERATOR(0, enum pid_type, PIDTYPE_NONE);
	out = ENUMERATOR(1, enum pid_type, PIDTYPE_TGID);
	out = ENUMERATOR(1, enum pid_type, PIDTYPE_SID);
	out = ENUMERATOR(1, enum zone_stat_item___mine, NR_FREE_PAGES___mine);
	if (out == 0xffff) { /* poisoned */
		out = ENUMERATOR(1, enum pid_type, PIDTYPE_NONE);
		out = FIELD(0, gone->no_such_field);
		out = FIELD(1, gone->no_such_field);
	}
	return 0;
}

__attribute__((section("raw_tp"))) int loads(u64 *ctx)
{
	struct task_struct *task = (void *)ctx[1];
	struct task_struct___narrow *narrow = (void *)ctx[1];

	out = task->pid;
	out = task->start_time;
	out = narrow->start_time;
	out = task->tasks.next == task->tasks.prev;
	out = task->comm[1];
	out = (u64)task->group_leader->group_leader;
	return 0;
}

char LICENSE[] __attribute__((section("license"))) = "GPL";
