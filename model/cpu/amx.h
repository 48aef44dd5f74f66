// Products on the tiles of AMX (Intel processors from 2023 on), which multiply bf16 and sum in
// fp32. Products of fp32 are six of bf16, and as exact as fp32 sums are.
#pragma once

#include "model/cpu/product.h"

// Asks the kernel for the tiles; false where the processor or the kernel has none.
bool amx_open(void);

// Room for the packed operands of one thread.
typedef struct AmxRoom AmxRoom;
AmxRoom *amx_room_open(void); // NULL: no memory
void amx_room_close(AmxRoom *room);

// False where the tiles cannot (bf16 results of fp32, sums of bf16 over more than 4,096 k) or do
// not pay (small products of fp32). A row of a result is the same whatever the number of rows.
bool amx_takes(const Product *product);
void amx_product(AmxRoom *room, const Product *product);
