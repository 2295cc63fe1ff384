/*
 * A client of ipc-gateway in C11, written from docs/PROTOCOL.md alone. Linux, no libraries.
 *
 *     gcc -std=c11 -Wall -Wextra -Werror -O2 -o client client.c
 *     ./client SOCKET [ROUTE [COUNT]]
 *
 * Sends one decide request to ROUTE (decide) and waits for its answer, then COUNT (100) more, as many
 * at once as the session has blocks, and prints each code with its count. Exit code 0 if all were
 * answered with OK, 1 otherwise, 2 for a wrong command line, 69 without a gateway.
 *
 * Numbers in brackets are sections of PROTOCOL.md.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "all numbers of the protocol are little-endian"
#endif
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "tail words are stored with one instruction");

enum {
	WIRE_VERSION = 1,
	MIN_ENTRIES = 2,
	MAX_ENTRIES = 32768,
	MIN_MESSAGE_SIZE = 64,
	MAX_MESSAGE_SIZE = 67108864,
	MAX_PACKET_BYTES = 32768,
	PAGE = 4096,

	/* [3] Lines. */
	SUBMISSION_TAIL = 4096,
	COMPLETION_TAIL = 4352,
	COMPLETION_HEAD = 4480,
	CLIENT_BELL = 4608,
	GATEWAY_STATE = 4736,
	SUBMISSION_SLOTS = 5120,

	/* [4] */
	CALL = 1,
	ANSWERED = 1,
	REJECTED = 2,
	UNKNOWN = 3,
	OK = 0,
	CODE_DRAINING = 209,
	GATEWAY_RESTARTED = 303,

	/* [2], [6] */
	REASON_DRAINING = 9,
	FAREWELL = 2,
	AWAKE = 0,
	ASLEEP = 1,

	MOST_STAGED = 32,
	SLICE_MS = 100,
	NO_GATEWAY = 69, /* EX_UNAVAILABLE */
};

/* [2] */
struct hello {
	char magic[8];
	uint32_t version, entries, message_size;
	uint8_t zero[12];
	char name[32];
};
_Static_assert(sizeof(struct hello) == 64, "a hello");

struct welcome {
	char magic[8];
	uint32_t version, entries, message_size, routes;
	uint64_t session;
};
_Static_assert(sizeof(struct welcome) == 32, "a welcome without its records");

/* [4] */
struct submission {
	uint64_t user_data;
	uint8_t opcode, flags;
	uint16_t route;
	uint32_t header_len, payload_len, zero;
	uint64_t timeout_ns, submitted_ns;
	uint8_t zeros[24];
};
_Static_assert(sizeof(struct submission) == 64, "a descriptor");

struct completion {
	uint64_t user_data;
	uint8_t outcome, zero;
	uint16_t code;
	uint32_t header_len, payload_len, zero2;
	uint64_t ring_wait_ns, upstream_ns;
	uint32_t retry_after_ms;
	uint8_t zeros[20];
};
_Static_assert(sizeof(struct completion) == 64, "a descriptor");

/* One session. For one thread. */
struct client {
	int socket, eventfd;
	uint8_t *region;
	const uint8_t *bell_page;
	/* Of the welcome, and never read from the region. */
	uint32_t entries, message_size;
	uint64_t stride, completion_slots, blocks;
	/* Own positions, and what was shown of the first. */
	uint32_t submission_tail, published, completion_head, newest;
	/* Blocks: those that are free, and of each other the mark that it was submitted with. */
	uint32_t *free, free_count;
	uint64_t *marks;
	bool *pending;
	/* Headers and payload of the last completion, copied out. */
	uint8_t *body;
	/* The socket is closed: nothing comes that is not there. */
	bool ended;
	uint32_t state_at_end;
	size_t records_len;
	uint8_t records[MAX_PACKET_BYTES];
};

static _Noreturn void die(int status, const char *format, ...)
{
	va_list arguments;
	fflush(stdout);
	fputs("client: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(status);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);
	if (!memory)
		die(1, "out of memory");
	return memory;
}

static uint64_t align(uint64_t number, uint64_t to)
{
	return (number + to - 1) / to * to;
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static _Atomic uint32_t *word32(struct client *client, uint64_t at)
{
	return (_Atomic uint32_t *)(void *)(client->region + at);
}

static _Atomic uint64_t *word64(struct client *client, uint64_t at)
{
	return (_Atomic uint64_t *)(void *)(client->region + at);
}

/* ---- [2] Handshake ---- */

static void check_peer(int socket)
{
	struct ucred peer;
	socklen_t size = sizeof peer;
	/* An empty variable counts as not set; one that is no number names nobody. */
	const char *wanted = getenv("IPC_GATEWAY_SERVER_UID");
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		die(NO_GATEWAY, "SO_PEERCRED: %s", strerror(errno));
	if (wanted && *wanted) {
		char *end;
		unsigned long uid = strtoul(wanted, &end, 10);
		if (!*end && uid == peer.uid)
			return;
	} else if (peer.uid == 0 || peer.uid == geteuid()) {
		return;
	}
	die(NO_GATEWAY, "the gateway runs as user %u, who is not trusted", peer.uid);
}

/* Receives a welcome or a refusal; returns its length. */
static size_t greet(int socket, const struct hello *hello, uint8_t *packet, int descriptors[3])
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(3 * sizeof(int))];
	} control;
	struct iovec part = {packet, MAX_PACKET_BYTES};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control,
	};
	/* With EPIPE a refusal may have come before. */
	if (send(socket, hello, sizeof *hello, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		die(NO_GATEWAY, "hello: %s", strerror(errno));
	ssize_t length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	if (length < 0 && errno == ECONNRESET)
		length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	if (length < 0)
		die(NO_GATEWAY, "no answer: %s", strerror(errno));
	if (length >= 14 && !memcmp(packet, "IPCGREJT", 8)) {
		uint16_t reason;
		memcpy(&reason, packet + 12, sizeof reason);
		die(NO_GATEWAY, "refused, reason %u: %.*s", reason, (int)length - 14, packet + 14);
	}
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || !header || header->cmsg_level != SOL_SOCKET ||
	    header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(3 * sizeof(int)) ||
	    (size_t)length < sizeof(struct welcome) || memcmp(packet, "IPCGWELC", 8))
		die(NO_GATEWAY, "not an ipc-gateway");
	memcpy(descriptors, CMSG_DATA(header), 3 * sizeof(int));
	return (size_t)length;
}

/* Maps a sealed memfd and closes it. */
static void *map_sealed(int memfd, uint64_t size, int protection)
{
	struct stat status;
	int seals = fcntl(memfd, F_GET_SEALS);
	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		die(NO_GATEWAY, "the gateway's memory is not sealed");
	if (fstat(memfd, &status) || status.st_size < 0 || (uint64_t)status.st_size < size)
		die(NO_GATEWAY, "the gateway's memory is too small");
	void *memory = mmap(NULL, size, protection, MAP_SHARED, memfd, 0);
	if (memory == MAP_FAILED || madvise(memory, size, MADV_DONTFORK))
		die(NO_GATEWAY, "mmap: %s", strerror(errno));
	close(memfd);
	return memory;
}

static void attach(struct client *client, const char *path, uint32_t entries, uint32_t message_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval bound = {.tv_sec = 2};
	struct hello hello = {
		.magic = {'I', 'P', 'C', 'G', 'H', 'E', 'L', 'O'},
		.version = WIRE_VERSION,
		.entries = entries,
		.message_size = message_size,
		.name = "client.c",
	};
	struct welcome welcome;
	int descriptors[3];

	if (strlen(path) >= sizeof address.sun_path)
		die(NO_GATEWAY, "%s: longer than a socket's path can be", path);
	strcpy(address.sun_path, path);
	client->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (client->socket < 0 ||
	    setsockopt(client->socket, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound) ||
	    connect(client->socket, (const struct sockaddr *)&address, sizeof address))
		die(NO_GATEWAY, "%s: %s", path, strerror(errno));
	check_peer(client->socket);
	size_t length = greet(client->socket, &hello, client->records, descriptors);
	memcpy(&welcome, client->records, sizeof welcome);
	if (welcome.version != WIRE_VERSION)
		die(NO_GATEWAY, "wire version %" PRIu32, welcome.version);
	client->entries = welcome.entries;
	client->message_size = welcome.message_size;
	if (client->entries < MIN_ENTRIES || client->entries > MAX_ENTRIES ||
	    (client->entries & (client->entries - 1)) || client->message_size < MIN_MESSAGE_SIZE ||
	    client->message_size > MAX_MESSAGE_SIZE)
		die(NO_GATEWAY, "an impossible welcome");
	client->records_len = length - sizeof welcome;
	memmove(client->records, client->records + sizeof welcome, client->records_len);

	/* [3] */
	uint64_t slots = align(4 * (uint64_t)client->entries, 128);
	client->stride = align((uint64_t)client->message_size + 64, 64);
	client->completion_slots = SUBMISSION_SLOTS + slots;
	client->blocks = align(client->completion_slots + slots, PAGE);
	uint64_t size = align(client->blocks + client->entries * client->stride, PAGE);
	client->region = map_sealed(descriptors[0], size, PROT_READ | PROT_WRITE);
	client->bell_page = map_sealed(descriptors[1], PAGE, PROT_READ);
	client->eventfd = descriptors[2];

	client->free = allocate(client->entries, sizeof *client->free);
	client->marks = allocate(client->entries, sizeof *client->marks);
	client->pending = allocate(client->entries, sizeof *client->pending);
	client->body = allocate(client->message_size, 1);
	while (client->free_count < client->entries) {
		client->free[client->free_count] = client->entries - 1 - client->free_count;
		client->free_count++;
	}
}

/* The number of a route, or -1. */
static int route_of(const struct client *client, const char *name)
{
	size_t at = 0;
	while (client->records_len - at >= 8) {
		uint16_t id, name_len;
		memcpy(&id, client->records + at, 2);
		memcpy(&name_len, client->records + at + 2, 2);
		at += 8;
		if (name_len > client->records_len - at)
			break;
		if (name_len == strlen(name) && !memcmp(client->records + at, name, name_len))
			return id;
		at += name_len;
	}
	return -1;
}

/* ---- [5] Rings ---- */

/* Shows everything submitted to the gateway, and rings if it sleeps. */
static void flush(struct client *client)
{
	if (client->published == client->submission_tail)
		return;
	/* CompletionHead was stored when its completion was taken: before this, as rule 1 asks. */
	atomic_store_explicit(word64(client, SUBMISSION_TAIL),
			      (uint64_t)client->newest << 32 | client->submission_tail,
			      memory_order_release);
	client->published = client->submission_tail;
	/* [6] Pairs with the worker's fence between its bell and its look at the tail. */
	atomic_thread_fence(memory_order_seq_cst);
	const _Atomic uint32_t *bell = (const _Atomic uint32_t *)(const void *)client->bell_page;
	if (atomic_load_explicit(bell, memory_order_relaxed) != AWAKE) {
		const uint64_t one = 1;
		if (write(client->eventfd, &one, sizeof one) < 0 && errno != EAGAIN && errno != EINTR)
			die(1, "eventfd: %s", strerror(errno));
	}
}

/* Writes a request into a free block; false if there is none. */
static bool submit(struct client *client, uint16_t route, const void *payload, uint32_t length,
		   uint64_t user_data)
{
	if (length > client->message_size)
		die(1, "the request is larger than a block");
	if (!client->free_count)
		return false;
	uint32_t block = client->free[--client->free_count];
	uint8_t *at = client->region + client->blocks + block * client->stride;
	const struct submission submission = {
		.user_data = user_data,
		.opcode = CALL,
		.route = route,
		.payload_len = length,
		.submitted_ns = monotonic_ns(),
	};
	memcpy(at, &submission, sizeof submission);
	memcpy(at + sizeof submission, payload, length);
	uint64_t slot = client->submission_tail % client->entries;
	atomic_store_explicit(word32(client, SUBMISSION_SLOTS + 4 * slot), block, memory_order_relaxed);
	client->submission_tail++;
	client->newest = block;
	client->marks[block] = user_data;
	client->pending[block] = true;
	uint32_t staged = client->submission_tail - client->published;
	if (staged >= MOST_STAGED || 2 * staged >= client->entries - client->free_count)
		flush(client);
	return true;
}

/* A block is the client's again. */
static void give_back(struct client *client, uint32_t block)
{
	client->pending[block] = false;
	client->free[client->free_count++] = block;
}

/* [7] The socket is closed: what is there is taken, then the rest is lost. */
static void end_session(struct client *client)
{
	client->ended = true;
	client->state_at_end = atomic_load_explicit(word32(client, GATEWAY_STATE), memory_order_acquire);
}

/* After the end: the completion of a request that nobody will complete any more. */
static bool poll_lost(struct client *client, struct completion *completion)
{
	for (uint32_t block = 0; block < client->entries; block++) {
		if (!client->pending[block])
			continue;
		bool was_drained = client->state_at_end == REASON_DRAINING;
		*completion = (struct completion){
			.user_data = client->marks[block],
			.outcome = was_drained ? REJECTED : UNKNOWN,
			.code = was_drained ? CODE_DRAINING : GATEWAY_RESTARTED,
		};
		give_back(client, block);
		return true;
	}
	return false;
}

/* What a check has found: a fault while the session lasts, its end after that. */
static bool impossible(struct client *client, struct completion *completion, const char *what)
{
	if (!client->ended)
		die(1, "the gateway misbehaves: %s", what);
	return poll_lost(client, completion);
}

/* Takes a completion, if there is one; headers and payload are in `body` until the next. */
static bool poll_completion(struct client *client, struct completion *completion)
{
	uint64_t tail = atomic_load_explicit(word64(client, COMPLETION_TAIL), memory_order_acquire);
	uint32_t waiting = (uint32_t)tail - client->completion_head;
	if (waiting > client->entries)
		return impossible(client, completion, "an impossible tail");
	if (!waiting)
		return client->ended && poll_lost(client, completion);
	uint64_t slot = client->completion_head % client->entries;
	uint32_t block = atomic_load_explicit(word32(client, client->completion_slots + 4 * slot),
					      memory_order_relaxed);
	if (block >= client->entries || !client->pending[block])
		return impossible(client, completion, "a block that was not submitted");
	const uint8_t *at = client->region + client->blocks + block * client->stride;
	memcpy(completion, at, sizeof *completion);
	uint64_t length = (uint64_t)completion->header_len + completion->payload_len;
	if (length > client->message_size)
		return impossible(client, completion, "a completion longer than its block");
	memcpy(client->body, at + sizeof *completion, length);
	/* [7] If the memory was given back, the copy is worth nothing. */
	atomic_thread_fence(memory_order_acquire);
	uint64_t magic = atomic_load_explicit(word64(client, 0), memory_order_relaxed);
	if (memcmp(&magic, "IPCGRING", sizeof magic)) {
		client->ended = true;
		return poll_lost(client, completion);
	}
	client->completion_head++;
	atomic_store_explicit(word32(client, COMPLETION_HEAD), client->completion_head,
			      memory_order_release);
	give_back(client, block);
	return true;
}

/* ---- [6] Sleep ---- */

/* Reads what is on the socket: notices the end. */
static void read_socket(struct client *client)
{
	uint8_t packet[64];
	while (!client->ended) {
		ssize_t length = recv(client->socket, packet, sizeof packet, MSG_DONTWAIT);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && errno == EAGAIN)
			return;
		if (length <= 0 || packet[0] == FAREWELL)
			end_session(client);
	}
}

/* Flushes, then waits for a completion. */
static bool wait_completion(struct client *client, struct completion *completion, unsigned timeout_ms)
{
	uint64_t deadline = monotonic_ns() + timeout_ms * UINT64_C(1000000);
	_Atomic uint32_t *bell = word32(client, CLIENT_BELL);
	flush(client);
	for (;;) {
		if (poll_completion(client, completion))
			return true;
		uint64_t now = monotonic_ns();
		if (now >= deadline)
			return false;
		uint64_t left = deadline - now;
		if (left > SLICE_MS * UINT64_C(1000000))
			left = SLICE_MS * UINT64_C(1000000);
		atomic_store_explicit(bell, ASLEEP, memory_order_relaxed);
		/* Pairs with the gateway's fence between its tail and its look at this bell. */
		atomic_thread_fence(memory_order_seq_cst);
		bool found = poll_completion(client, completion);
		if (!found) {
			/* Whatever it returns: look again. */
			struct timespec slice = {.tv_nsec = (long)left};
			syscall(SYS_futex, bell, FUTEX_WAIT, ASLEEP, &slice, NULL, 0);
		}
		atomic_store_explicit(bell, AWAKE, memory_order_relaxed);
		if (found)
			return true;
		read_socket(client);
	}
}

/* ---- The program ---- */

static const char *outcome_name(unsigned outcome)
{
	return outcome == ANSWERED ? "answered" : outcome == REJECTED ? "rejected" : "unknown";
}

/* A decide request; returns its length. */
static uint32_t decide(char *buffer, size_t size, uint64_t number)
{
	int length = snprintf(buffer, size,
			      "{\"version\":\"1\",\"tenant_id\":\"acme\",\"request_id\":\"c-%" PRIu64
			      "\",\"task\":{\"type\":\"chat\",\"payload\":{\"text\":\"request %" PRIu64
			      "\"}}}",
			      number, number);
	if (length < 0 || (size_t)length >= size)
		die(1, "the request is larger than its buffer");
	return (uint32_t)length;
}

/* One request and its answer. */
static bool ask(struct client *client, uint16_t route)
{
	char payload[256];
	struct completion reply;
	uint32_t length = decide(payload, sizeof payload, 0);
	if (!submit(client, route, payload, length, 0) || !wait_completion(client, &reply, 10000))
		die(1, "no completion in 10 seconds");
	printf("%s %u: ", outcome_name(reply.outcome), reply.code);
	fwrite(client->body + reply.header_len, 1, reply.payload_len, stdout);
	putchar('\n');
	return reply.outcome == ANSWERED && reply.code == OK;
}

/* Many at once, completed in any order. */
static bool exchange(struct client *client, uint16_t route, uint64_t count)
{
	enum { CODES = 512 };
	static uint64_t counts[4][CODES];
	uint64_t sent = 0, done = 0, echoed = 0;
	uint8_t *seen = allocate(count + 1, 1);
	char payload[256];

	while (done < count) {
		struct completion reply;
		while (sent < count && !client->ended) {
			uint32_t length = decide(payload, sizeof payload, sent);
			if (!submit(client, route, payload, length, sent))
				break;
			sent++;
		}
		/* The session has ended, and all that was sent is completed. */
		if (done == sent)
			break;
		if (!wait_completion(client, &reply, 10000))
			die(1, "no completion in 10 seconds");
		if (reply.user_data >= sent || seen[reply.user_data]++)
			die(1, "request %" PRIu64 " was completed twice, or never sent", reply.user_data);
		uint32_t length = decide(payload, sizeof payload, reply.user_data);
		echoed += length == reply.payload_len &&
			  !memcmp(payload, client->body + reply.header_len, length);
		counts[reply.outcome & 3][reply.code % CODES]++;
		done++;
	}
	for (unsigned outcome = ANSWERED; outcome <= UNKNOWN; outcome++)
		for (unsigned code = 0; code < CODES; code++)
			if (counts[outcome][code])
				printf("%" PRIu64 " %s %u\n", counts[outcome][code], outcome_name(outcome), code);
	printf("%" PRIu64 " payloads came back as they were sent\n", echoed);
	free(seen);
	return counts[ANSWERED][OK] == count;
}

int main(int argc, char **argv)
{
	static struct client client;
	const char *name = argc > 2 ? argv[2] : "decide";
	char *end = "";
	uint64_t count = argc > 3 ? strtoull(argv[3], &end, 10) : 100;
	if (argc < 2 || argc > 4 || *end) {
		fputs("usage: client SOCKET [ROUTE [COUNT]]\n", stderr);
		return 2;
	}
	attach(&client, argv[1], 16, 4032);
	int route = route_of(&client, name);
	if (route < 0)
		die(1, "the gateway has no route %s", name);
	bool well = ask(&client, (uint16_t)route);
	if (!client.ended)
		well &= exchange(&client, (uint16_t)route, count);
	/* Closing the socket detaches. */
	close(client.socket);
	return well ? 0 : 1;
}
