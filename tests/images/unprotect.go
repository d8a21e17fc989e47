package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// unprotect turns a server's default for protected-mode from yes to no, in
// place. The official images are compiled with that default, because a container
// publishes no port unless told to; Debian's packages are not. An option on the
// command line instead would be seen by whoever looks at the command line, and
// could not be changed by a configuration file.
//
// The default lies in the server's table of options, whose entry for a yes-or-no
// option is, in all versions of Redis since 6 and of Valkey:
//
//	name, alias, flags, functions..., where the value is, the default (an int)
//
// Pointers in a position-independent program are found by their relocations.
func unprotect(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	pointers, err := relativePointers(file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	table := file.Section(".data")
	bss := file.Section(".bss")
	if table == nil || bss == nil {
		return fmt.Errorf("%s: no .data or no .bss", path)
	}
	name, err := addressOf(file, data, "\x00protected-mode\x00")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}

	var found []uint64
	for slot, target := range pointers {
		if target != name || slot < table.Addr || slot >= table.Addr+table.Size {
			continue
		}
		// The entry's only pointer into .bss is the one to the value.
		for at := slot + 8; at < slot+120; at += 8 {
			if value, ok := pointers[at]; ok && value >= bss.Addr && value < bss.Addr+bss.Size {
				found = append(found, at+8-table.Addr+table.Offset)
				break
			}
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("%s: protected-mode is %d times in the table of options", path, len(found))
	}
	value := data[found[0] : found[0]+4]
	if file.ByteOrder.Uint32(value) != 1 {
		return fmt.Errorf("%s: the default of protected-mode is %d", path, file.ByteOrder.Uint32(value))
	}
	file.ByteOrder.PutUint32(value, 0)
	return os.WriteFile(path, data, 0o755)
}

// addressOf gives the address of the text after its first byte.
func addressOf(file *elf.File, data []byte, text string) (uint64, error) {
	section := file.Section(".rodata")
	if section == nil {
		return 0, errors.New("no .rodata")
	}
	content := data[section.Offset : section.Offset+section.Size]
	at := bytes.Index(content, []byte(text))
	if at < 0 {
		return 0, fmt.Errorf("no text %q", text)
	}
	return section.Addr + uint64(at) + 1, nil
}

// relativePointers maps the address of every pointer to where it points.
func relativePointers(file *elf.File) (map[uint64]uint64, error) {
	section := file.Section(".rela.dyn")
	if section == nil {
		return nil, errors.New("no relocations")
	}
	content, err := section.Data()
	if err != nil {
		return nil, err
	}
	relocations := make([]elf.Rela64, len(content)/binary.Size(elf.Rela64{}))
	if err := binary.Read(bytes.NewReader(content), file.ByteOrder, relocations); err != nil {
		return nil, err
	}
	pointers := map[uint64]uint64{}
	for _, relocation := range relocations {
		kind := elf.R_TYPE64(relocation.Info)
		if kind == uint32(elf.R_X86_64_RELATIVE) || kind == uint32(elf.R_AARCH64_RELATIVE) {
			pointers[relocation.Off] = uint64(relocation.Addend)
		}
	}
	return pointers, nil
}
