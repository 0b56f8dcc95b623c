// SPDX-License-Identifier: GPL-2.0-only
// Many small structs of a C++ program. "structs": what programs have. "lookalikes": 200 objects made to
// look like mutexes that threads 2 to 201 hold. Prints "ready" and waits for the end.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

struct connection {
	int state = 1, flags, fd, refs = 1, events, error;
	std::shared_ptr<std::string> name;
	connection *next;
};

struct node {
	int color, depth, id, count;
	node *left, *right, *parent;
	double weight;
};

struct event {
	int type, code, value, serial;
	long when;
};

static void structs()
{
	static std::vector<std::unique_ptr<connection>> connections;
	static std::vector<event> events;
	static std::map<int, node> nodes;
	static std::unordered_map<std::string, std::list<int>> names;
	static std::vector<int> small;
	static std::vector<std::vector<int>> rows;
	std::mt19937 dice(1);

	for (int n = 0; n < 1000000; n++) {
		auto *c = new connection();
		c->flags = n % 3;
		c->fd = n % 400;
		c->name = std::make_shared<std::string>("connection-" + std::to_string(n));
		connections.emplace_back(c);
	}
	for (int n = 0; n < 2000000; n++)
		events.push_back({ n % 4, n % 3, static_cast<int>(dice() % 300), n, n * 16L });
	for (int n = 0; n < 500000; n++)
		nodes[n] = { n % 2, n % 20, n, 1, nullptr, nullptr, nullptr, 0.5 };
	for (int n = 0; n < 300000; n++)
		names["name-" + std::to_string(n)].push_back(n % 300);
	for (int n = 0; n < 8000000; n++)
		small.push_back(static_cast<int>(dice() % 300));
	for (int n = 0; n < 200000; n++)
		rows.push_back({ 1, 0, n % 300, 1, 0, 0, 0, 0 });
}

static void lookalikes()
{
	static std::vector<int *> kept;

	for (int fd = 2; fd < 202; fd++) {
		int *object = static_cast<int *>(calloc(1, 64));
		object[0] = object[3] = 1;
		object[2] = fd;
		kept.push_back(object);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "lookalikes"))
		lookalikes();
	else
		structs();
	puts("ready");
	fflush(stdout);
	getchar();
}
