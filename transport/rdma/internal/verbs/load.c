//go:build linux && cgo

#include <dlfcn.h>
#include <stdio.h>

#include "api.h"

struct hb_api hb_api;

static int missing(char *why, int size)
{
	const char *text = dlerror();

	snprintf(why, size, "%s", text ? text : "unknown cause");
	return -1;
}

// Fills the member called name from the open library lib. dlsym answers the
// default one of a symbol's versions, as the linker would.
#define FILL(name)                                                             \
	*(void **)&hb_api.name = dlsym(lib, #name);                            \
	if (!hb_api.name)                                                      \
		return missing(why, size);

static int load_ibverbs(char *why, int size)
{
	void *lib = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return missing(why, size);
	HB_IBVERBS(FILL)
	*(void **)&hb_api.ibv_reg_dmabuf_mr = dlsym(lib, "ibv_reg_dmabuf_mr");
	return 0;
}

static int load_rdmacm(char *why, int size)
{
	void *lib = dlopen("librdmacm.so.1", RTLD_NOW | RTLD_LOCAL);

	if (!lib)
		return missing(why, size);
	HB_RDMACM(FILL)
	return 0;
}

int hb_load(char *why, int size)
{
	if (load_ibverbs(why, size))
		return 1;
	if (load_rdmacm(why, size))
		return 2;
	return 0;
}
