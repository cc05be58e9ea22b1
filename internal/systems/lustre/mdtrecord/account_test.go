package mdtrecord

import "testing"

// What is read as the address of an account is written in the same way.
func TestAccountAddresses(t *testing.T) {
	for _, addr := range []string{"blocks/0-0", "blocks/24776-24800", "mark/150", "deleted/150", "group/2", "free/superblock", "quota/user/0", "quota/project/4294967295"} {
		if a, err := parseAccount(addr); err != nil || a.String() != addr || !isAccount(addr) {
			t.Errorf("%q was read as %+v, %v", addr, a, err)
		}
	}
	for _, addr := range []string{"blocks", "blocks/", "blocks/5", "blocks/5-4", "blocks/05-6", "blocks/1-9223372036854775808", "mark/-1", "mark/150/1", "group/4294967296",
		"free/", "free/super", "quota/0", "quota/users/0", "quota/user/", "quota/user/+1", "nlink/5"} {
		if a, err := parseAccount(addr); err == nil {
			t.Errorf("%q was read as %+v", addr, a)
		}
	}
}
