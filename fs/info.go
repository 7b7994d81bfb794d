package fs

import "hbmfs/fs/uapi"

func (t *tree) ioctlInfo(cmd uint32, in, out []byte) error {
	if err := uapi.DecodeInfo(cmd, in); err != nil {
		return err
	}
	info := t.info()
	uapi.EncodeInfo(out, &info)
	return nil
}

func (t *tree) info() uapi.Info {
	c := &t.cfg
	info := uapi.Info{
		Size: uint32(uapi.InfoSize), ABIVersion: uapi.ABIVersion,
		DeviceCount: 1, ExtentSize: uint64(c.Extent),
	}
	for feature, on := range map[uint64]bool{
		uapi.FeatureChecksums: c.Checksums, uapi.FeatureStrict: c.Strict, uapi.FeatureRequireDirect: c.RequireDirect,
	} {
		if on {
			info.Features |= feature
		}
	}
	d := &info.Devices[0]
	d.Pool = uint64(c.Pool)
	uapi.PutString(d.Name[:], c.Device)
	if c.CPUDevice {
		d.Flags = uapi.DeviceCPU
	}
	for i, v := range c.Target.Selection().Verdicts[:min(len(c.Target.Selection().Verdicts), uapi.MaxTransports)] {
		tr := &info.Transports[i]
		tr.Path = uint32(v.Path)
		uapi.PutString(tr.Name[:], v.Name)
		switch {
		case v.Err != nil:
			uapi.PutString(tr.Reason[:], v.Err.Error())
		default:
			tr.Flags |= uapi.TransportUsable
		}
		if v.Chosen {
			tr.Flags |= uapi.TransportChosen
		}
		if v.Plan.Encrypted {
			tr.Flags |= uapi.TransportEncrypted
		}
		info.TransportCount++
	}
	return info
}
