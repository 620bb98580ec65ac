/**
 * The x86-64 processor. How an instruction travels:
 *
 *   bytes --decode/--> Instruction --lift/--> records in linear memory --interpreter/--> executed
 *             by table               by name     (layout/record.ts)        by generated WebAssembly
 *
 * Each folder knows those above it only:
 *
 * cpuid/        the features that the processor has, and what CPUID tells of them
 * layout/       where things stand in linear memory: a processor's area, records, numbers of accesses
 * decode/       rows of text as in the manual (one-byte, two-byte, vector, x87) and the decoder that reads them; data
 *               only
 * disassembler/ the same rows as text, for listings and messages
 * emit/         the Binder and what micro-operations share: flags, conditions, record binders for the loop and for
 *               single records
 * runtime/      larger pieces of generated code: page walk, slow memory accesses, block look-up, string instructions
 * uops/         micro-operations: one function each, which emits WebAssembly through a Binder; the only place of
 *               meaning
 * lift/         per instruction name: which micro-operations with which operands; writes records
 * interpreter/  puts all that into modules: the loop (frequent micro-operations) and a function for each single one
 * core/         a processor's inside as TypeScript sees it, one view a file: registers, memory, stack, faults, mode,
 *               translations, debug unit, events
 * system/       what a kernel of one's own needs (bare processors): descriptor tables, delivery through the IDT,
 *               control registers, MSRs, ports; what comes between two instructions: interrupts, debug traps, breakpoints
 * handlers/     rare instructions in TypeScript, called with (core, record)
 * code/         decoded blocks, blocks cut short, and blocks that begin with compiled code
 * region/       hot code compiled, in three rooms: form/ (what a region is, found in decoded code), write/ (as a
 *               WebAssembly function), life/ (sampled, installed before blocks, dropped)
 * tracing/      hooks, and the instruction at hand
 * inspection/   what is cached, entry by entry, for checks
 * saved/        the state as plain data, and back
 * processor/    the driver behind the public interface: runs blocks, turns statuses into exits
 *
 * To add an instruction:
 * 1. Add its row to decode/ (format: decode/table.ts). Disassembler and oracle know it from then on.
 * 2. Give its name a lifter in lift/. It sets `fields` by their names in a shape (layout/record.ts) and calls `emit(name)`;
 *    `source(size)` loads the E operand, `modify(size, body)` reads and writes it, `emitMemory(name)` takes a memory
 *    form of the micro-operation, `handler(name)` calls TypeScript, `ended` or `finalHandler` end the block. Without a
 *    lifter it raises #UD.
 * 3. If no micro-operation fits, add one to a family in uops/: `list.add([operation, size, operands], facts, (b) => ...)`.
 *    The facts (uops/facts.ts) say what it reads and writes, how it uses memory and ends; a test holds them against what
 *    the function emits. Nothing may be changed before its last memory access has gone through; a handler neither, when
 *    it returns FAULT. What it means is written here once: the loop, the single functions and compiled regions all run
 *    this function. A region keeps registers, temporaries and flags in locals, so they are reached through the Binder
 *    only, and flags neither set nor read in one arm of an `if` before they are settled; a test refuses it otherwise.
 * 4. If it is frequent, uops/hot.ts puts it into the loop; read there what that costs.
 *
 * Outside of 64-bit mode another instance of the module runs, generated for 32-bit linear addresses. Where all segments
 * are flat its code is decoded as 64-bit code is; where one is not, MODE.SEGMENTED lets the lifters put checks before
 * fetches and accesses (`segment-fetch`, `segment-check`) and take the `segmented.` twins of stack and jump operations,
 * in which addresses are offsets. State.rip is linear; what software sees as EIP is RegisterFile.rip.
 *
 * Nothing between two instructions costs while there is nothing to look for: `Attention.isDue` is asked once a slice.
 * While it is true, blocks are cut to one instruction and system/boundary.ts is consulted in between; handlers that may
 * make it true return CHECK. While data accesses are watched (State.watch), no data translation is remembered, and the
 * slow path asks core/debug.ts.
 *
 * Rules that hold everything together: a record's instruction is precise (fault: no effect; status RELOAD: done, look
 * up again); a block pays for all its instructions on entry and whoever leaves early gives the rest back; frames with
 * decoded code never get a write tag in the TLB, so every write to them passes runtime/access.ts; what code depends on
 * besides its bytes is in State.mode, part of a block's key.
 */
export { DEFAULT_LEVEL, PROCESSOR_LEVELS, offeredFeatures } from './cpuid/features.ts'
export type { ProcessorLevel } from './cpuid/features.ts'
export { Disassembler, disassemble, disassembleAll } from './disassembler/disassembler.ts'
export type { DisassemblyOptions } from './disassembler/disassembler.ts'
export type { Disassembled, MemoryOperand, Operand, OperandSize } from '../interface/disassembled.ts'
export { prepareProcessors } from './prepare.ts'
export { MachineProcessor } from './processor/processor.ts'
export { Engine } from './processor/engine.ts'
export { recordCoverage } from './processor/record-coverage.ts'
export { makeRegions } from './region/life/makers.ts'
export { compilerSettings } from './region/life/settings.ts'
export type { CompilerSettings } from './region/life/defaults.ts'
